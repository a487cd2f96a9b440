"""C: chunks of 500 that Celery runs, counts that cannot drift, and a retry that keeps what is done."""

import os
import signal
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from jobledger.v1.chunk_pb2 import WorkError
from jobledger.v1.worker_service_pb2 import ChunkFailure, ChunkRelease
from jobledger_client import AttemptOutcome, InvalidFieldError, JobClient, JobNotFoundError, JobView, RetryPolicy

from examples.bucket import Bucket
from examples.image_crawler import tree
from examples.image_crawler.__main__ import start, totals_of
from examples.image_crawler.broker import MISSING, program
from examples.image_crawler.crawl import Totals, crawl
from examples.image_crawler.submit import retry_chunk, submit
from tests.support.bounds import BOUND, CALL_TIMEOUT
from tests.support.server import Server
from tests.support.states import CHUNK_FAILED, CHUNK_PENDING, COMPLETED, FAILED, LEASE_LOST, OK, summary

pytestmark = pytest.mark.one_store("the examples see messages, not the store")

IMAGES = 1_250
AT_ONCE = RetryPolicy(initial_backoff=timedelta(milliseconds=1))


@pytest.fixture(scope="module")
def files(server: Server, stack: ExitStack, folder: Path) -> Bucket:
    if program() is None:
        pytest.skip(MISSING)
    one = start(stack, server.target, folder)
    tree.make(one.path("site"), IMAGES)
    return one


@pytest.mark.parametrize(
    ("limit", "cut"),
    [
        (2_500, [(0, 499), (500, 999), (1_000, 1_499), (1_500, 1_999), (2_000, 2_499)]),
        (250, [(0, 249)]),
        (1_200, [(0, 499), (500, 999), (1_000, 1_199)]),
    ],
)
def test_a_crawl_is_cut_into_chunks_of_500(caller: JobClient, limit: int, cut: list[tuple[int, int]]):
    job = caller.create_job("crawl.cut", item_count=limit).job
    chunks = caller.list_chunks(job.job_id)
    assert [(chunk.first_item, chunk.last_item) for chunk in chunks] == cut
    assert job.priority == 5


def test_a_crawl_counts_what_a_plain_loop_counts(caller: JobClient, files: Bucket):
    found = tree.images(files.path("site"))
    job_id = submit(caller, "site", len(found), limit=1_200).job_id
    for message in caller.watch(job_id, timeout=CALL_TIMEOUT):
        summary(message.job)  # its counts add up, in every message
    job = caller.get_job(job_id, view=JobView.FULL)
    assert (job.state, job.progress.percent, job.progress.items_completed) == (COMPLETED, 100, 1_200)
    assert all(chunk.task_id.startswith(f"{job_id}:{chunk.index}:") for chunk in job.chunks)
    assert totals_of(caller, job_id) == sum(map(crawl, found[:1_200]), Totals())


class TestTroubleToday:
    """What the team could not do before, line by line."""

    def test_counters_do_not_drift(self, caller: JobClient):
        job_id = caller.create_job("crawl.drift", item_count=2_500, retry_policy=AT_ONCE).job.job_id
        first, second, third = caller.leases.claim_chunks(["crawl.drift"], worker="hand", max_chunks=3)
        token = first.lease.token
        for _ in range(3):  # one that is told again is counted once
            caller.leases.complete_chunks([token])
            caller.leases.release_chunks([third.lease.token])
        failure = ChunkFailure(lease_token=second.lease.token, error=WorkError(code="HTTP_500"))
        assert [caller.leases.fail_chunks([failure])[0].status for _ in range(3)] == [OK] * 3
        assert caller.leases.complete_chunks([second.lease.token])[0].status == LEASE_LOST
        job = caller.get_job(job_id, view=JobView.FULL)
        assert (summary(job), job.progress.percent) == ({"total": 5, "pending": 4, "completed": 1}, 20)
        done = [token]
        while len(done) < 5:
            done += [
                one.lease.token for one in caller.leases.claim_chunks(["crawl.drift"], worker="hand", max_chunks=9)
            ]
        caller.leases.complete_chunks(done)
        job = caller.get_job(job_id, view=JobView.FULL)
        assert (job.state, summary(job), job.progress.items_completed) == (
            COMPLETED,
            {"total": 5, "completed": 5},
            2_500,
        )

    def test_a_chunk_whose_worker_died_does_not_stay_processing(self, caller: JobClient, files: Bucket):
        tree.make(files.path("stuck"), 2)
        stuck = tree.images(files.path("stuck"))[1]
        good = stuck.read_bytes()
        stuck.unlink()
        os.mkfifo(stuck)  # whoever reads it waits
        job_id = submit(caller, "stuck", 2, limit=2).job_id
        with caller.watch(job_id, timeout=CALL_TIMEOUT) as messages:
            assert any(message.job.chunks_summary.processing for message in messages)
        [chunk] = caller.get_job(job_id, view=JobView.FULL).chunks
        worker = int(chunk.worker.rpartition("-")[2])
        os.kill(worker, signal.SIGSTOP)  # it may not have come to that image yet, and does not find the good one
        stuck.rename(stuck.with_suffix(".fifo"))
        stuck.write_bytes(good)
        os.kill(worker, signal.SIGKILL)
        caller.wait(job_id, timeout=CALL_TIMEOUT)
        job = caller.get_job(job_id, view=JobView.FULL)
        assert (job.state, job.chunks[0].attempt) == (COMPLETED, 2)
        lost, _ = caller.list_attempts(job_id)
        assert (lost.outcome, lost.error.code) == (AttemptOutcome.FAILED, "WorkerLostError")

    def test_failed_chunks_go_again_by_a_policy_and_the_others_are_kept(self, caller: JobClient, files: Bucket):
        tree.make(files.path("broken"), 600)
        broken = tree.images(files.path("broken"))[550]
        good = broken.read_bytes()
        broken.write_bytes(b"no image")
        job_id = submit(caller, "broken", 600, limit=600, priority=8).job_id
        caller.wait(job_id, timeout=CALL_TIMEOUT)
        job = caller.get_job(job_id, view=JobView.FULL)
        assert (job.state, summary(job)) == (FAILED, {"total": 2, "completed": 1, "failed": 1})
        assert (job.chunks[1].state, job.chunks[1].attempt, job.error.chunk_index) == (CHUNK_FAILED, 2, 1)
        assert job.error.code == "UnidentifiedImageError"
        broken.write_bytes(good)
        assert caller.retry_job(job_id).retry_count == 1
        caller.wait(job_id, timeout=CALL_TIMEOUT)
        job = caller.get_job(job_id, view=JobView.FULL)
        assert (job.state, [chunk.attempt for chunk in job.chunks]) == (COMPLETED, [1, 3])

    def test_a_failed_chunk_goes_again_while_the_crawl_runs(self, caller: JobClient):
        job_id = caller.create_job("crawl.one_chunk", item_count=1_000).job.job_id
        broken, other = caller.leases.claim_chunks(["crawl.one_chunk"], worker="hand", max_chunks=2)
        failure = ChunkFailure(lease_token=broken.lease.token, error=WorkError(code="BROKEN"), not_retryable=True)
        caller.leases.fail_chunks([failure])
        job = retry_chunk(caller, job_id, 0)
        assert summary(job) == {"total": 2, "pending": 1, "processing": 1}
        [again] = caller.leases.claim_chunks(["crawl.one_chunk"], worker="hand")
        caller.leases.complete_chunks([again.lease.token, other.lease.token])
        assert (again.chunk.index, caller.get_job(job_id, view=JobView.FULL).state) == (0, COMPLETED)

    def test_a_silent_worker_has_a_time_out(self, caller: JobClient):
        job_id = caller.create_job("crawl.silent", item_count=10, retry_policy=AT_ONCE).job.job_id
        [silent] = caller.leases.claim_chunks(["crawl.silent"], worker="silent", lease_duration=timedelta(seconds=1))
        [heir] = caller.leases.claim_chunks(["crawl.silent"], worker="heir", wait=timedelta(seconds=BOUND))
        assert (heir.job_id, heir.chunk.attempt, heir.chunk.worker) == (job_id, 2, "heir")
        assert caller.leases.complete_chunks([silent.lease.token])[0].status == LEASE_LOST

    def test_chunks_that_a_worker_gives_back_go_to_one_that_is_free(self, caller: JobClient):
        caller.create_job("crawl.balance", item_count=2_500)
        hoard = caller.leases.claim_chunks(["crawl.balance"], worker="slow", max_chunks=5)
        assert not caller.leases.claim_chunks(["crawl.balance"], worker="free", max_chunks=5)
        caller.leases.release_chunks(
            [ChunkRelease(lease_token=one.lease.token, reason="somebody else is free") for one in hoard[2:]]
        )
        moved = caller.leases.claim_chunks(["crawl.balance"], worker="free", max_chunks=5)
        reported = [(one.chunk.index, one.chunk.attempt, one.chunk.worker) for one in moved]
        assert reported == [(index, 1, "free") for index in (2, 3, 4)], "giving back is no failed attempt"

    def test_a_new_priority_reaches_the_chunks(self, caller: JobClient):
        first, second = (caller.create_job("crawl.order", item_count=1_000).job.job_id for _ in range(2))
        urgent = caller.create_job("crawl.order", item_count=1_000, priority=8).job.job_id

        def claims() -> str:
            return caller.leases.claim_chunks(["crawl.order"], worker="hand")[0].job_id

        assert [claims(), claims()] == [urgent, urgent], "the most urgent first"
        assert claims() == first, "then the oldest"
        assert caller.update_job(second, priority=9).priority == 9
        assert [claims(), claims(), claims()] == [second, second, first]


def test_statistics_count_images(caller: JobClient):
    caller.create_job("crawl.counted", item_count=750)
    claimed = caller.leases.claim_chunks(["crawl.counted"], worker="hand", max_chunks=2)
    caller.leases.complete_chunks([one.lease.token for one in claimed])
    stats = caller.statistics.get_job_stats(kinds=["crawl.counted"]).total
    done = stats.activity
    assert (done.created, done.completed, done.chunks_completed, done.items_completed) == (1, 1, 2, 750)
    assert (stats.now.completed, stats.now.chunks_pending, done.success_rate) == (1, 0, 1)


def test_priorities_are_0_to_10_and_may_change(caller: JobClient):
    for priority in (-1, 11):
        with pytest.raises(InvalidFieldError) as refused:
            caller.create_job("crawl.waiting", item_count=10, priority=priority)
        assert [violation.field for violation in refused.value.field_violations] == ["priority"]
    job = caller.create_job("crawl.waiting", item_count=10).job
    assert job.priority == 5
    for priority in (0, 10):
        assert caller.update_job(job.job_id, priority=priority).priority == priority


def test_deleting_a_crawl_deletes_its_chunks(caller: JobClient):
    job = caller.create_job("crawl.deleted", item_count=2_500).job
    [claimed] = caller.leases.claim_chunks(["crawl.deleted"], worker="hand")
    caller.delete_job(job.job_id, force=True)
    with pytest.raises(JobNotFoundError):
        caller.list_chunks(job.job_id).page()
    assert not caller.leases.claim_chunks(["crawl.deleted"], worker="hand", max_chunks=9), "nobody is given one"
    assert caller.leases.complete_chunks([claimed.lease.token])[0].status == LEASE_LOST
    assert caller.statistics.get_job_stats(kinds=["crawl.deleted"]).total.now.chunks_pending == 0
    again = caller.create_job("crawl.deleted", job_id=job.job_id, item_count=500).job
    assert [chunk.state for chunk in caller.list_chunks(again.job_id)] == [CHUNK_PENDING]
