"""The enums are those of the contract, and compare with the numbers in messages."""

import re
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import jobledger.v1
import jobledger_client
import pytest
from jobledger.v1.job_pb2 import Job
from jobledger_client import TERMINAL_STATES, JobState
from jobledger_client._enums import ContractEnum

REASONS = "ErrorReason"  # an error has its reason as a word and as a class


def contract() -> dict[str, Any]:
    """Return every enum of the contract by name."""
    modules = [import_module(f"jobledger.v1.{one.name}") for one in iter_modules(jobledger.v1.__path__)]
    return {
        name: getattr(module, name)
        for module in modules
        for name in getattr(getattr(module, "DESCRIPTOR", None), "enum_types_by_name", {})
    }


def test_every_enum_of_the_contract_is_offered():
    offered = {one.__name__ for one in ContractEnum.__subclasses__()}
    assert offered == contract().keys() - {REASONS}
    assert offered < set(jobledger_client.__all__)


@pytest.mark.parametrize("enum", ContractEnum.__subclasses__(), ids=lambda enum: enum.__name__)
def test_members_are_those_of_the_contract(enum: type[ContractEnum]):
    prefix = re.sub(r"(?<!^)([A-Z])", r"_\1", enum.__name__).upper() + "_"
    known = {name.removeprefix(prefix): number for name, number in contract()[enum.__name__].items()}
    assert {member.name: member.value for member in enum} | {"UNSPECIFIED": 0} == known


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
