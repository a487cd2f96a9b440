"""The enums compare with the numbers in messages, and name numbers that they do not know."""

import pytest
from jobledger.v1.job_pb2 import Job
from jobledger_client import TERMINAL_STATES, JobState


def test_members_compare_with_the_numbers_in_messages():
    job = Job(state="JOB_STATE_FAILED")
    assert job.state == JobState.FAILED
    assert job.state in TERMINAL_STATES
    assert JobState(job.state).name == "FAILED"
    assert {JobState.FAILED: "a"}[job.state] == "a"


def test_a_number_that_only_a_newer_server_knows_has_a_name():
    newer = JobState(99)
    assert (newer.name, newer, newer.value, repr(newer)) == ("UNKNOWN_99", 99, 99, "<JobState.UNKNOWN_99: 99>")
    assert JobState(0).name == "UNSPECIFIED"
    assert newer not in list(JobState)
    with pytest.raises(ValueError, match="'RUNNING' is not a valid JobState"):
        JobState("RUNNING")
