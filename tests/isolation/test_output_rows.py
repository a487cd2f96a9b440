"""Outputs are stored once: no event has them, and no later change of their job writes them again."""

from itertools import pairwise

import pytest
from jobledger_service.core.database.rows.deleted_jobs import MAX_TRIM_BYTES
from jobledger_service.core.database.rows.entry import JOB_ITSELF
from jobledger_service.core.database.rows.reads import View
from jobledger_service.core.database.tables import deleted_outputs, events, outputs
from jobledger_service.core.model.chunk import WorkError
from jobledger_service.core.model.job import Outputs, job_key
from jobledger_service.core.model.progress import ProgressReport
from jobledger_service.core.model.states import JobState
from jobledger_service.core.model.work import NO_RESULTS, NOTHING_NEW, Failure, Results, WorkReport
from jobledger_service.core.write.commands import CompleteChunks, DeleteJob, FailChunks, Heartbeat, RetryJob
from jobledger_service.features.retention.store import SqlHistoryStore
from sqlalchemy import event, func, select

from tests.isolation.large_jobs import ALICE, LargeLedger

LARGE = b"\x0a\xff\xff\x03" + b"x" * 65_000


def stored(ledger: LargeLedger) -> dict[int, bytes]:
    """Return the stored outputs, by chunk."""
    with ledger.database.read() as connection:
        rows = connection.execute(select(outputs.c.chunk_index, outputs.c.encoded)).all()
    return {index: encoded for index, encoded in rows}  # noqa: C416  rows are no pairs to mypy


def history(ledger: LargeLedger) -> SqlHistoryStore:
    return SqlHistoryStore(ledger.database, lambda _position, message: message, lambda *_: None)


def shown(ledger: LargeLedger, job_id: str, owner: str = ALICE) -> list[int]:
    """Return the chunks of which readers see an output."""
    read = ledger.reads.list_chunks(job_key(owner, job_id), frozenset(), -1, 1_000)
    assert read is not None
    return sorted(read.outputs.chunks)


def event_sizes(ledger: LargeLedger) -> list[int]:
    """Return the stored bytes of each event."""
    with ledger.database.read() as connection:
        return list(connection.execute(select(func.length(events.c.message)).order_by(events.c.position)).scalars())


def complete(lease: object, results: Results = NO_RESULTS) -> CompleteChunks:
    return CompleteChunks(ALICE, [(lease, WorkReport(), results)])


@pytest.mark.guarantee("3d.7")
def test_no_event_has_an_output(ledger: LargeLedger):
    sizes = []
    for job_id, results in (("a", NO_RESULTS), ("b", Results("", LARGE, LARGE))):
        begun = len(event_sizes(ledger))
        ledger.create(job_id, [1, 1])
        first, second = ledger.claim(job_id, [0, 1])
        ledger.do(complete(first.lease, results))
        ledger.do(complete(second.lease, results))
        ledger.do(DeleteJob(ALICE, job_id, "caller"))
        sizes.append(event_sizes(ledger)[begun:])
    assert sizes[0] == sizes[1]
    assert max(sizes[0]) < 1_000
    assert history(ledger).trim_outputs(1_000) is False
    assert stored(ledger) == {}, "they go after their job"


@pytest.mark.guarantee("3d.7")
def test_a_later_change_of_the_job_writes_no_output_again(ledger: LargeLedger):
    ledger.create("big", [1, 1])
    first, second = ledger.claim("big", [0, 1])
    ledger.do(complete(first.lease, Results("", LARGE, LARGE)))
    assert stored(ledger) == {JOB_ITSELF: LARGE, 0: LARGE}
    sent: list[str] = []
    event.listen(ledger.database.writer, "before_cursor_execute", lambda _c, _r, sql, *_: sent.append(sql))
    report = WorkReport(progress=ProgressReport(percent=50))
    ledger.do(Heartbeat(ALICE, [(second.lease, report)], lease_duration=None))
    ledger.do(complete(second.lease))
    assert any("jobs" in sql for sql in sent)
    assert not [sql for sql in sent if "outputs" in sql]


def test_of_several_declarations_in_one_batch_the_last_is_kept(ledger: LargeLedger):
    ledger.create("big", [1, 1, 1])
    held = ledger.claim("big", [0, 1, 2])
    ledger.do(complete(held[0].lease, Results("", None, b"first")))
    ledger.batch(
        complete(held[1].lease, Results("", b"mine", b"second")), complete(held[2].lease, Results("", None, b"third"))
    )
    assert stored(ledger) == {JOB_ITSELF: b"third", 1: b"mine"}
    assert ledger.job("big").output_bytes == 5


def test_what_ends_in_one_batch_with_its_job_leaves_nothing(ledger: LargeLedger):
    ledger.create("big", [1])
    [held] = ledger.claim("big", [0])
    ledger.batch(complete(held.lease, Results("", b"mine", b"of the job")), DeleteJob(ALICE, "big", "caller"))
    assert stored(ledger) == {}


def test_a_retry_in_the_batch_of_a_declaration_keeps_it(ledger: LargeLedger):
    ledger.create("big", [1, 1])
    done, failing = ledger.claim("big", [0, 1])
    failure = Failure(WorkError("X"), 0.5, not_retryable=True)
    ledger.batch(
        ledger.new_job("other", [1]),  # with it the batch knows what alice may have, and retries the job at once
        complete(done.lease, Results("", b"mine", b"of the job")),
        FailChunks(ALICE, [(failing.lease, NOTHING_NEW, failure)]),
        RetryJob(ALICE, "big", (), "caller"),
    )
    assert stored(ledger) == {JOB_ITSELF: b"of the job", 0: b"mine"}
    assert ledger.job("big").state is JobState.QUEUED


@pytest.mark.guarantee("3b.2")
def test_a_deletion_leaves_outputs_which_no_later_job_shows_and_go_in_bounded_steps(ledger: LargeLedger):
    count = 100
    for job_id in ("gone", "stays"):
        ledger.create(job_id, [1] * count)
        held = ledger.claim(job_id, range(count))
        ledger.do(CompleteChunks(ALICE, [(one.lease, WorkReport(), Results("", LARGE, LARGE)) for one in held]))
    sent: list[str] = []
    event.listen(ledger.database.writer, "before_cursor_execute", lambda _c, _r, sql, *_: sent.append(sql))
    ledger.do(DeleteJob(ALICE, "gone", "caller"))
    assert not [sql for sql in sent if "DELETE FROM outputs" in sql]
    ledger.create("gone", [1] * count)
    assert shown(ledger, "gone") == []
    key = job_key(ALICE, "gone")
    assert ledger.reads.read_jobs([key], View.FULL, with_outputs=True).jobs[key].outputs == Outputs()
    rows, more = [2 * (count + 1)], True
    while more:
        more = history(ledger).trim_outputs(200)
        with ledger.database.read() as connection:
            rows.append(connection.execute(select(func.count()).select_from(outputs)).scalar_one())
    gone = [before - after for before, after in pairwise(rows)]
    assert sum(gone) == count + 1
    assert max(gone) <= MAX_TRIM_BYTES // len(LARGE) + 1
    with ledger.database.read() as connection:
        left = set(connection.execute(select(outputs.c.uid)).scalars())
        assert left == {ledger.job("stays").spec.uid_bytes}
        assert connection.execute(select(deleted_outputs)).all() == []


def test_a_step_deletes_the_outputs_of_many_jobs(ledger: LargeLedger):
    for n in range(5):
        ledger.create(f"j{n}", [1])
        [held] = ledger.claim(f"j{n}", [0])
        ledger.do(complete(held.lease, Results("", b"mine", b"of the job")))
        ledger.do(DeleteJob(ALICE, f"j{n}", "caller"))
    assert [history(ledger).trim_outputs(4) for _ in range(3)] == [True, True, False]
    assert stored(ledger) == {}
