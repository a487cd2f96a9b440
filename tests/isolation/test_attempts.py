"""Attempts cost a bounded number of rows, bytes and statements, and one that is damaged stops nothing."""

from collections.abc import Sequence

import pytest
from jobledger_service.core.database.rows.attempts import jobs_of_task
from jobledger_service.core.database.rows.reads import AttemptPlace, AttemptsRead, AttemptsWanted, View
from jobledger_service.core.database.tables import attempts
from jobledger_service.core.model.attempts import MAX_ATTEMPTS_OF_JOB, Attempt, max_kept_attempts
from jobledger_service.core.model.bounds.limits import MAX_CHUNKS, MAX_REPLY_BYTES
from jobledger_service.core.model.chunk import AttemptOutcome, WorkError
from jobledger_service.core.model.job import job_id_of, job_key
from jobledger_service.core.model.lifecycle import Cancellation
from jobledger_service.core.model.work import NOTHING_NEW, Claim, Failure
from jobledger_service.core.read.job_reads import SMALL
from jobledger_service.core.write.commands import (
    CancelJob,
    ClaimChunk,
    ClaimedChunk,
    DeleteJob,
    ExpireLeases,
    FailChunks,
    RetryJob,
)
from sqlalchemy import event, func, select, update

from tests.isolation.large_jobs import ALICE, BOB, LEASE, LargeLedger

MESSAGE = "\N{SNOWMAN}" * 4_096
"""The longest message, of three bytes each."""
FIRST = AttemptPlace(-1, 0)


def kept_rows(ledger: LargeLedger) -> int:
    """Return how many earlier attempts are stored."""
    with ledger.database.read() as connection:
        return int(connection.execute(select(func.count()).select_from(attempts)).scalar_one())


def page(ledger: LargeLedger, job_id: str, after: AttemptPlace = FIRST) -> AttemptsRead:
    """Return a page of a job's attempts."""
    read = ledger.reads.list_attempts(AttemptsWanted(job_key(ALICE, job_id), None, "", after, 1_000))
    assert read is not None
    return read


def every_attempt(ledger: LargeLedger, job_id: str) -> list[Attempt]:
    """Return all attempts of a job."""
    read = page(ledger, job_id)
    found = [*read.attempts]
    while read.more:
        read = page(ledger, job_id, read.last)
        found += read.attempts
    return found


def failures(claimed: list[ClaimedChunk], message: str = "") -> FailChunks:
    """Return the report that these attempts failed; the next ones wait for no time."""
    error = WorkError("E", message)
    return FailChunks(ALICE, [(one.lease, NOTHING_NEW, Failure(error, 0.5, retry_delay=0)) for one in claimed])


def claim_and_fail(ledger: LargeLedger, job_id: str, count: int, message: str = "") -> None:
    """Claim the first chunks of a job, and fail them."""
    ledger.do(failures(ledger.claim(job_id, range(count)), message))


def jobs_that_failed(ledger: LargeLedger, count: int, chunks: int, tries: int, message: str = "") -> list[str]:
    """Create jobs whose chunks failed so often, and return their keys."""
    names = [f"job-{number:02}" for number in range(count)]
    ledger.batch(*(ledger.new_job(name, [1] * chunks, tries=20) for name in names))
    for _ in range(tries):
        ledger.now += 1
        ledger.do(failures(claim_each(ledger, names, chunks), message))
    return [job_key(ALICE, name) for name in names]


def claim_each(ledger: LargeLedger, names: Sequence[str], chunks: int) -> list[ClaimedChunk]:
    """Claim the chunks of several jobs."""
    by = Claim("w", LEASE)
    return ledger.batch(*(ClaimChunk(ALICE, name, index, by) for name in names for index in range(chunks)))


@pytest.mark.guarantee("3b.2")
@pytest.mark.long  # claims 10,000 chunks
def test_a_cancelled_job_of_10_000_chunks_in_work_keeps_its_attempts_and_writes_no_row_for_them(ledger: LargeLedger):
    ledger.create("large", [1] * MAX_CHUNKS)
    while ledger.claim_any(1_000):
        pass
    ledger.do(CancelJob(ALICE, "large", Cancellation(0, force=True), "caller"))
    cancelled, statements = ledger.commits[-1].rows, ledger.statements
    assert kept_rows(ledger) == 0
    ledger.create("small", [1] * 3)
    ledger.claim_any(3)
    ledger.do(CancelJob(ALICE, "small", Cancellation(0, force=True), "caller"))
    assert statements <= ledger.statements + 3, "few chunks are loaded, many are changed as a set"
    assert cancelled <= MAX_CHUNKS + 1
    found = every_attempt(ledger, "large")
    assert [(one.chunk_index, one.number) for one in found] == [(index, 1) for index in range(MAX_CHUNKS)]
    assert {(one.outcome, one.end_time) for one in found} == {(AttemptOutcome.CANCELLED, ledger.now)}


@pytest.mark.guarantee("3b.2")
def test_attempts_are_kept_and_let_go_as_sets(ledger: LargeLedger):
    counts = {}
    for count in (1, 64):
        job_id = f"of-{count}"
        ledger.create(job_id, [1] * count, tries=100)
        claim_and_fail(ledger, job_id, count)
        for _ in range(max_kept_attempts(count) + 1):
            ledger.now += 1
            claimed = ledger.claim(job_id, range(count))
            counts[count] = ledger.statements
            ledger.do(failures(claimed))
        assert ledger.job(job_id).kept_attempts == count * max_kept_attempts(count)
    assert counts[64] == counts[1]
    assert kept_rows(ledger) == (1 + 64) * max_kept_attempts(64)


def test_leases_that_expire_and_end_in_one_batch_with_another_claim_are_attempts(ledger: LargeLedger):
    ledger.create("job", [1, 1], tries=5)
    claimed = ledger.claim("job", [0, 1])
    ledger.now += 1
    ledger.batch(failures(claimed[:1]), ClaimChunk(ALICE, "job", 0, Claim("again", LEASE)))
    ledger.now += LEASE
    ledger.do(ExpireLeases([((claimed[1].lease.job_key, 1), 0.5)]))
    ledger.do(ExpireLeases([((claimed[1].lease.job_key, 1), 0.5)]))
    found = [(one.chunk_index, one.number, one.worker, one.outcome) for one in every_attempt(ledger, "job")]
    assert found == [
        (0, 1, "w", AttemptOutcome.FAILED),
        (0, 2, "again", None),
        (1, 1, "w", AttemptOutcome.EXPIRED),
    ]


def test_a_refused_command_keeps_no_attempt(ledger: LargeLedger):
    ledger.create("job", [1, 1], tries=5)
    claim_and_fail(ledger, "job", 2)
    by = Claim("w", LEASE)
    ledger.batch(ClaimChunk(ALICE, "job", 0, by), ClaimChunk(ALICE, "job", 0, by), ClaimChunk(ALICE, "job", 2, by))
    assert (kept_rows(ledger), ledger.job("job").kept_attempts) == (1, 1)


@pytest.mark.parametrize("count", [1, 526, 527, 1_000, 5_000, 10_000])
@pytest.mark.one_store("a rule")
def test_what_is_kept_of_a_job_is_bounded(count: int):
    assert 1 <= max_kept_attempts(count) <= 19
    assert count * max_kept_attempts(count) <= MAX_ATTEMPTS_OF_JOB


@pytest.mark.guarantee("3b.2")
def test_a_deletion_counts_the_attempts_that_go_with_the_job(ledger: LargeLedger):
    ledger.create("job", [1] * 5, tries=10)
    ledger.create("other", [1] * 5, tries=10)
    for job_id in ("job", "other"):
        for _ in range(4):
            ledger.now += 1
            claim_and_fail(ledger, job_id, 5)
    ledger.do(DeleteJob(ALICE, "job", "caller", force=True))
    assert ledger.commits[-1].rows == 1 + 5 + 15
    assert kept_rows(ledger) == 15
    ledger.create("job", [1] * 5)
    assert every_attempt(ledger, "job") == []


@pytest.mark.guarantee("3b.2")
def test_a_page_has_no_more_bytes_than_a_reply(ledger: LargeLedger):
    ledger.create("job", [1] * 50, tries=100)
    for _ in range(9):
        ledger.now += 1
        claim_and_fail(ledger, "job", 50, MESSAGE)
    ledger.claim("job", range(50))
    read, sizes = page(ledger, "job"), []
    found = [*read.attempts]
    while True:
        sizes.append(sum(len(one.error.message.encode()) for one in read.attempts if one.error))
        if not read.more:
            break
        read = page(ledger, "job", read.last)
        found += read.attempts
    assert [(one.chunk_index, one.number) for one in found] == [(n, k) for n in range(50) for k in range(1, 11)]
    assert max(sizes) <= MAX_REPLY_BYTES
    assert len(sizes) == 3, "what is stored of attempts that last still has the errors of those before"


@pytest.mark.guarantee("3b.4")
def test_an_attempt_that_cannot_be_read_is_set_aside(ledger: LargeLedger):
    ledger.create("job", [1, 1], tries=5)
    for _ in range(2):
        ledger.now += 1
        claim_and_fail(ledger, "job", 2)
    ledger.claim("job", [0, 1])
    with ledger.database.write() as connection:
        damaged = update(attempts).where(attempts.c.chunk_index == 0, attempts.c.attempt_number == 1)
        connection.execute(damaged.values(current=b"\xc1"))
    read = page(ledger, "job")
    assert [(one.chunk_index, one.number) for one in read.attempts] == [(0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]
    assert (list(read.unreadable), read.more) == ([0], False)
    key = job_key(ALICE, "job")
    for shown in (
        ledger.reads.read_jobs([key], View.FULL),
        ledger.reads.read_jobs([key], View.FULL, SMALL),
    ):
        last = [(one.chunk_index, one.number) for one in shown.jobs[key].attempts]
        assert last == [(0, 3), (1, 3), (0, 2), (1, 2), (1, 1)]


def test_small_jobs_with_attempts_are_read_together_up_to_a_number(ledger: LargeLedger):
    keys = jobs_that_failed(ledger, 53, 1, 1)
    claim_each(ledger, [job_id_of(key) for key in keys[1:]], 1)
    read = ledger.reads.read_jobs(keys, View.FULL, SMALL)
    assert list(read.jobs) == keys[:51], "the others are read by themselves, and only the first had one attempt"
    assert {len(one.attempts) for key, one in read.jobs.items() if key != keys[0]} == {2}
    assert len(ledger.reads.read_jobs(keys[-1:], View.FULL).jobs[keys[-1]].attempts) == 2


@pytest.mark.guarantee("3b.2")
def test_the_last_attempts_of_many_jobs_are_few_statements(ledger: LargeLedger):
    keys, counts = jobs_that_failed(ledger, 55, 2, 3), []
    event.listen(ledger.database.reader, "before_cursor_execute", lambda *given: counts.append(given[2]))
    read = ledger.reads.read_jobs(keys, View.FULL)
    assert list(read.jobs) == keys
    for one in read.jobs.values():
        assert sorted((a.chunk_index, a.number) for a in one.attempts[:4]) == [(0, 2), (0, 3), (1, 2), (1, 3)]
        assert len(one.attempts) == 5
    assert sum("attempt_end_time DESC" in statement for statement in counts) == 2


@pytest.mark.guarantee("3b.2")
def test_the_last_attempts_of_a_page_have_room_in_the_reply(ledger: LargeLedger):
    keys = jobs_that_failed(ledger, 60, 1, 5, MESSAGE)
    claim_each(ledger, [job_id_of(key) for key in keys], 1)
    read = ledger.reads.read_jobs(keys, View.FULL)
    assert list(read.jobs) == keys[: len(read.jobs)]
    assert list(read.unread) == keys[len(read.jobs) :]
    shown = sum(len(a.error.message.encode()) for one in read.jobs.values() for a in one.attempts if a.error)
    assert MAX_REPLY_BYTES / 2 < shown < MAX_REPLY_BYTES
    rest = ledger.reads.read_jobs(read.unread, View.FULL)
    assert {*read.jobs, *rest.jobs} == {*keys}


@pytest.mark.guarantee("3b.8")
def test_another_owners_tasks_are_not_found(ledger: LargeLedger):
    ledger.create("job", [1], BOB)
    ledger.do(ClaimChunk(BOB, "job", 0, Claim("w", LEASE, "task")))
    ledger.create("job", [1])
    ledger.do(ClaimChunk(ALICE, "job", 0, Claim("w", LEASE, "task")))
    ledger.do(CancelJob(ALICE, "job", Cancellation(0, force=True), "caller"))
    ledger.do(RetryJob(ALICE, "job", [], "caller"))
    ledger.do(ClaimChunk(ALICE, "job", 0, Claim("w", LEASE, "other")))
    with ledger.database.read() as connection:
        for owner in (ALICE, BOB, "al"):
            assert jobs_of_task(connection, owner, "task", 10) == ([] if owner == "al" else [f"{owner}/job"])
