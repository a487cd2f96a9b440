"""A verb that changes chunks as a set leaves what the rule for each chunk would: states, leases, sums and times."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jobledger.v1.job_service_pb2 import WatchJobResponse
from jobledger_service.core.api.convert import CHUNK_STATES_BY_NUMBER
from jobledger_service.core.model import lifecycle, work
from jobledger_service.core.model.chunk import Chunk, WorkError
from jobledger_service.core.model.history.change import Step
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.lifecycle import Cancellation
from jobledger_service.core.model.progress import ProgressReport
from jobledger_service.core.model.states import ChunkState
from jobledger_service.core.model.work import NO_RESULTS, NOTHING_NEW, Failure, Release, WorkReport
from jobledger_service.core.write.commands import (
    CancelJob,
    CompleteChunks,
    EndOverdue,
    FailChunks,
    Heartbeat,
    ReleaseChunks,
    RetryJob,
)
from jobledger_service.core.write.stored_chunks import StoredChunks
from msgspec.structs import replace

from tests.isolation.large_jobs import ALICE, BOB, LEASE, LargeLedger, large_ledger
from tests.support.databases import new_database

SECOND = 1_000_000


@pytest.fixture(scope="module")
def ledger(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LargeLedger]:
    with large_ledger(new_database(store, tmp_path_factory.mktemp("sweeps"))) as opened:
        yield opened


def lived(
    ledger: LargeLedger, job_id: str, rng: random.Random, count: int, *, fast: bool, run_timeout: int | None = None
) -> list[Any]:
    """Give a job a life, in which some of its chunks are in each state; return reports that are still to come."""
    sizes = [rng.randint(1, 9) for _ in range(count)]
    ledger.create(job_id, sizes, fast=fast, tries=2, run_timeout=run_timeout)
    claimed = ledger.claim(job_id, sorted(rng.sample(range(count), rng.randint(2, count))))
    ledger.now += SECOND
    reports: list[Any] = []
    for one in claimed:
        items = one.chunk.items
        progress = ProgressReport(
            stage=rng.choice(["fetch", "work"]), items_completed=rng.randint(0, items), message="on it"
        )
        beat = Heartbeat(ALICE, [(one.lease, WorkReport(progress))], lease_duration=LEASE)
        error = WorkError("E", str(one.chunk.index))
        reports.append(
            rng.choice([
                [],
                [beat],
                [beat],
                [beat, CompleteChunks(ALICE, [(one.lease, WorkReport(), NO_RESULTS)])],
                [beat, FailChunks(ALICE, [(one.lease, NOTHING_NEW, Failure(error, 0.5))])],
                [ReleaseChunks(ALICE, [(one.lease, NOTHING_NEW, Release())])],
            ])
        )  # fmt: skip
    return [command for commands in reports for command in commands]


def expected(step: Step, chunks: dict[int, Chunk], before: Job, now: int) -> tuple[Job, dict[int, Chunk]]:
    """Return what the rule for each chunk leaves: the sums of the job follow chunk by chunk."""
    sweep = step.sweep
    moved = {index: sweep.applied(one) for index, one in chunks.items() if sweep and sweep.covers(one)}
    job = before
    for index, one in moved.items():
        job = job.with_chunk(chunks[index], one, now)
    return job, {**chunks, **moved}


def told(ledger: LargeLedger) -> dict[int, str]:
    """Return the state of every chunk that the last event tells of: its ranges first, then its chunks."""
    message = WatchJobResponse.FromString(ledger.last_event())
    states = {n: run.state for run in message.chunk_ranges for n in range(run.first_index, run.last_index + 1)}
    states |= {chunk.index: chunk.state for chunk in message.chunks}
    return {index: CHUNK_STATES_BY_NUMBER[state] for index, state in states.items()}


def same_sums(job: Job, other: Job) -> bool:
    """Whether two jobs have the same counts, work, items and times in stages."""
    return (
        job.counts == other.counts
        and job.stage_timings == other.stage_timings
        and (job.progress.work_done, job.progress.items_completed)
        == (other.progress.work_done, other.progress.items_completed)
    )


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.sampled_from([3, 49, 70]),
    verb=st.sampled_from(["cancel", "force", "overdue", "timed_out"]),
    together=st.booleans(),
)
def test_a_set_of_chunks_is_left_as_each_chunk_by_itself(
    ledger: LargeLedger, seed: int, count: int, verb: str, together: bool
):
    rng, ledger.now = random.Random(seed), ledger.now + 1_000 * SECOND
    job_id = f"{verb}-{ledger.now}"
    bystander = ledger.create(f"bob-{ledger.now}", [1] * count, BOB)
    timed_out, by_time = verb == "timed_out", verb in ("overdue", "timed_out")
    reports = lived(ledger, job_id, rng, count, fast=False, run_timeout=2 * SECOND if timed_out else None)
    if by_time:
        ledger.batch(*reports)
        reports = []
    if verb == "overdue":
        ledger.do(CancelJob(ALICE, job_id, Cancellation(0), "caller"))
    ledger.now += SECOND
    command = EndOverdue([f"{ALICE}/{job_id}"])
    if not by_time:
        command = CancelJob(ALICE, job_id, Cancellation(SECOND, "enough", force=verb == "force"), "caller")
    if not together:
        ledger.batch(*reports)
    before, chunks = ledger.job(job_id), ledger.chunks(job_id)
    all_chunks = StoredChunks(before.key, chunks, lambda: None)
    if by_time:
        step = lifecycle.end_overdue(before, all_chunks, ledger.now)
    else:
        _, step = lifecycle.cancel(before, all_chunks, command.how, "caller", ledger.now)
    ledger.batch(*reports, command) if together else ledger.do(command)
    job, after = ledger.job(job_id), ledger.chunks(job_id)
    if timed_out and not before.ended:
        assert (job.state, job.error and job.error.code) == ("FAILED", "TIMED_OUT")
    if ledger.commits[-1].entries:
        states = told(ledger)
        assert states == {index: one.state for index, one in after.items() if index in states}
        assert all(index in states for index, one in after.items() if one.state is not chunks[index].state)
    # Whatever came before in the same batch, the sums are those of the chunks.
    assert job.counts.total == count
    assert job.progress.work_done == sum(chunk.work_done for chunk in after.values())
    assert job.progress.items_completed == sum(chunk.items_done for chunk in after.values())
    if step is not None and not (together and reports):
        whole, one_by_one = expected(step, chunks, before, ledger.now)
        assert after == one_by_one
        assert same_sums(job, whole)
    assert ledger.job(bystander.spec.job_id, BOB) == bystander


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.sampled_from([4, 70]), named=st.booleans())
def test_a_retry_of_a_set_is_that_of_each_chunk(ledger: LargeLedger, seed: int, count: int, named: bool):
    rng, ledger.now = random.Random(seed), ledger.now + 1_000 * SECOND
    job_id = f"retry-{ledger.now}"
    ledger.batch(*lived(ledger, job_id, rng, count, fast=False))
    ledger.now += 61 * SECOND
    waiting = [index for index, one in ledger.chunks(job_id).items() if one.state is ChunkState.PENDING]
    claimed = ledger.claim(job_id, rng.sample(waiting, len(waiting) // 2))
    if claimed:
        errors = [(one.lease, WorkError("E", f"of {one.chunk.index}")) for one in claimed[::2]]
        ledger.do(
            FailChunks(
                ALICE, [(lease, NOTHING_NEW, Failure(error, 0.5, not_retryable=True)) for lease, error in errors]
            )
        )
    ledger.do(CancelJob(ALICE, job_id, Cancellation(0, force=True), "caller"))
    ledger.now += SECOND
    before, chunks = ledger.job(job_id), ledger.chunks(job_id)
    again = sorted(index for index, one in chunks.items() if one.state in lifecycle.RETRYABLE)
    indexes = rng.sample(again, rng.randint(1, len(again))) if named and again else []
    assume(again)
    step = lifecycle.retry(before, StoredChunks(before.key, chunks, lambda: None), indexes, "caller", "", ledger.now)
    ledger.do(RetryJob(ALICE, job_id, indexes, "caller"))
    job, after = ledger.job(job_id), ledger.chunks(job_id)
    _, one_by_one = expected(step, chunks, before, ledger.now)
    assert after == one_by_one
    assert (job.counts, job.first_failure) == (step.job.counts, step.job.first_failure)
    assert job.first_failure == next(
        (one.error for one in chunks.values() if one.state == "FAILED" and one.index not in (indexes or again)), None
    )
    assert {index for index, one in after.items() if one != chunks[index]} == set(indexes or again)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.sampled_from([4, 70]))
def test_a_chunk_that_fails_fast_stops_the_others_as_each_by_itself(ledger: LargeLedger, seed: int, count: int):
    rng, ledger.now = random.Random(seed), ledger.now + 1_000 * SECOND
    job_id = f"fast-{ledger.now}"
    ledger.create(job_id, [rng.randint(1, 9) for _ in range(count)], fast=True, tries=1)
    claimed = ledger.claim(job_id, sorted(rng.sample(range(count), rng.randint(2, count))))
    ledger.now += SECOND
    beats = [(one.lease, WorkReport(ProgressReport(stage="work", percent=rng.random()))) for one in claimed]
    ledger.do(Heartbeat(ALICE, rng.sample(beats, len(beats) // 2) or beats[:1], lease_duration=LEASE))
    ledger.now += SECOND
    before, chunks = ledger.job(job_id), ledger.chunks(job_id)
    failing = rng.choice(claimed)
    failure = Failure(WorkError("E"), 0.5)
    chunk = chunks[failing.chunk.index]
    step = work.fail(before, chunk, NOTHING_NEW, failure, StoredChunks(before.key, chunks, lambda: None), ledger.now)
    ledger.do(FailChunks(ALICE, [(failing.lease, NOTHING_NEW, failure)]))
    [failed] = step.chunks
    half = before.with_chunk(chunk, failed, ledger.now)
    whole, one_by_one = expected(step, {**chunks, chunk.index: failed}, half, ledger.now)
    assert ledger.chunks(job_id) == one_by_one
    assert same_sums(ledger.job(job_id), replace(whole, state=step.job.state))
