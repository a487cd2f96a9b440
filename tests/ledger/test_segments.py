"""A changed job is encoded once, and no message of a job is built from its row."""

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, cast

import pytest
from jobledger.v1.job_pb2 import Job, JobView
from jobledger.v1.job_service_pb2 import (
    BatchGetJobsRequest,
    BatchGetJobsResponse,
    GetJobRequest,
    GetJobResponse,
    ListJobsRequest,
    ListJobsResponse,
    WatchJobResponse,
)
from jobledger_service.core.api import convert
from jobledger_service.core.api.codec import ProtoCodec
from jobledger_service.core.api.job_service import JobService
from jobledger_service.core.database.rows import job_rows
from jobledger_service.core.database.rows.reads import View
from jobledger_service.core.database.tables import chunks, jobs
from jobledger_service.core.database.unreadable_rows import UnreadableRows
from jobledger_service.core.model.job import JobSpec
from jobledger_service.core.model.lifecycle import Cancellation, CancelOutcome, NewJob
from jobledger_service.core.model.retry import RetryPolicy
from jobledger_service.core.model.updates import JobUpdate
from jobledger_service.core.read.queries import Queries
from jobledger_service.core.read.readers import Readers
from jobledger_service.core.write.commands import CancelJob, CreateJob, UpdateJob
from jobledger_service.core.write.postponed import Postponed
from jobledger_service.transport.identity import Caller, Role
from msgspec.structs import replace
from sqlalchemy import event, select

from tests.support.ledger import Ledger, create

BUILDERS: Final = {
    cast("Any", one).__code__: name
    for name, one in (
        ("fill_fixed", convert.fill_fixed),
        ("fill_moving", convert.fill_moving),
        ("job_of", job_rows.job_of),
    )
}
"""What makes the message of a job from its values, and its values from its row."""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(tmp_path / "jobs.db")) as opened:
        yield opened


@contextmanager
def calls() -> Iterator[Counter[str]]:
    """Count the calls of BUILDERS in the block, on this thread and on those that it starts."""
    counted = Counter[str]()

    def count(frame: FrameType, what: str, _: object) -> None:
        if what == "call" and frame.f_code in BUILDERS:
            counted[BUILDERS[frame.f_code]] += 1

    threading.setprofile(count)
    sys.setprofile(count)
    try:
        yield counted
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


@pytest.mark.guarantee("3d.6")
def test_a_changed_job_is_encoded_once_for_its_row_its_event_and_all_answers(ledger: Ledger):
    update = JobUpdate(frozenset({"display_name"}), display_name="new")
    convert._fixed.cache_clear()  # of equal jobs of earlier tests
    with calls() as counted:
        outcomes, [commit] = ledger.executor.run(
            [create("a"), create("a"), UpdateJob("me", "a", update, "caller"), create("b")]
        )
    assert counted == {"fill_fixed": 2, "fill_moving": 2}, "there are two jobs"
    (first, _), (again, _), updated, _ = outcomes
    assert first is not None
    assert first == again == updated
    assert Job.FromString(first).display_name == "new"
    [message] = [entry.message for entry in commit.entries if entry.job_key == "me/a"]
    assert WatchJobResponse.FromString(message).job == Job.FromString(first)
    wanted = select(jobs.c.fixed, jobs.c.moving).where(jobs.c.job_key == "me/a")
    with ledger.database.read() as connection:
        fixed, moving = connection.execute(wanted).one()
    assert first == fixed + moving


def test_what_only_an_update_changes_is_not_written_by_other_changes_nor_read_by_them(ledger: Ledger):
    ledger.executor.run([create("a")])
    statements = list[str]()
    event.listen(ledger.database.writer, "before_cursor_execute", lambda *given: statements.append(given[2]))
    [(outcome, answer)], _ = ledger.executor.run([CancelJob("me", "a", Cancellation(0), "caller")])
    assert outcome is CancelOutcome.CANCELLED
    *reads, written = [one for one in statements if "FROM jobs" in one or "UPDATE jobs" in one]
    assert ("moving" in written, "fixed" in written) == (True, False)
    assert reads
    assert not any("moving" in one or "fixed" in one for one in reads)
    [[_, again]], _ = ledger.executor.run([CancelJob("me", "a", Cancellation(0), "caller")])
    assert again == answer, "an ended job is encoded for the answer as it was for its row"


@pytest.mark.parametrize("command", ["update", "cancel"])
def test_a_new_maximum_of_attempts_reaches_each_chunk_once_whatever_else_the_batch_does(ledger: Ledger, command: str):
    spec = JobSpec("me", "a", "k", b"", retry_policy=RetryPolicy(max_attempts=3))
    ledger.executor.run([create("b"), CreateJob(NewJob(spec, [1] * 2_000), "caller")])

    def more(count: int) -> UpdateJob:
        new = JobUpdate(frozenset({"retry_policy"}), retry_policy=RetryPolicy(max_attempts=count))
        return UpdateJob("me", "a", new, "caller")

    other = {"update": more(2), "cancel": CancelJob("me", "a", Cancellation(0), "caller")}[command]
    outcomes, _ = ledger.executor.run([more(9), other])
    assert isinstance(outcomes[1], Postponed)
    [written] = {*attempts_of(ledger, "me/a")}
    assert (written, attempts_of(ledger, "me/b")) == (9, [3])
    ledger.executor.run([other])
    assert {*attempts_of(ledger, "me/a")} == {2 if command == "update" else 9}
    ledger.executor.run([CreateJob(NewJob(replace(spec, job_id="c"), [1] * 2), "caller"), replace(more(7), job_id="c")])
    assert attempts_of(ledger, "me/c") == [7, 7]


def attempts_of(ledger: Ledger, key: str) -> list[int]:
    """Return the maximum of attempts of each chunk of a job."""
    with ledger.database.read() as connection:
        return list(connection.scalars(select(chunks.c.max_attempts).where(chunks.c.job_key == key)))


async def test_reads_of_jobs_join_segments_and_read_no_other_columns_of_them(ledger: Ledger):
    ledger.executor.run([create(f"job-{n}") for n in range(5)])
    caller, ids = Caller("me", "caller", frozenset(Role)), [f"job-{n}" for n in range(5)]
    readers, nothing, statements = Readers(), cast("Any", None), list[str]()
    event.listen(ledger.database.reader, "before_cursor_execute", lambda *given: statements.append(given[2]))
    with closing(readers), calls() as counted:
        service = JobService(nothing, Queries(ledger.reads, readers), nothing, nothing, UnreadableRows())
        for view in (JobView.JOB_VIEW_BASIC, JobView.JOB_VIEW_FULL):
            one = await service.GetJob(GetJobRequest(job_id="job-0", view=view), caller)
            some = await service.BatchGetJobs(BatchGetJobsRequest(job_ids=ids, view=view), caller)
            page = await service.ListJobs(ListJobsRequest(view=view), caller)
            assert GetJobResponse.FromString(one).job.job_id == "job-0"
            assert [job.job_id for job in BatchGetJobsResponse.FromString(some).jobs] == ids
            assert [job.job_id for job in ListJobsResponse.FromString(page).jobs] == ids[::-1]
            of_page = {job.job_id: job for job in ListJobsResponse.FromString(page).jobs}
            assert of_page["job-0"] == GetJobResponse.FromString(one).job
        read = ledger.reads.read_jobs(["me/job-0"], View.FULL)
        assert WatchJobResponse.FromString(ProtoCodec().snapshot(read.jobs["me/job-0"], b"")).job == of_page["job-0"]
    assert not counted
    of_jobs = [one for one in statements if "jobs.fixed" in one]
    assert len(of_jobs) >= 6
    for column in ("retry_policy", "labels", "stages", "stage_timings", "display_name", "message", "fingerprint"):
        assert not any(f"jobs.{column}" in one for one in of_jobs)
