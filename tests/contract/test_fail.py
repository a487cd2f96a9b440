"""FailChunks: a failed attempt goes again after its backoff, or for good, and then the failure policy speaks."""

from datetime import timedelta

import pytest
from jobledger.v1.chunk_pb2 import WorkError
from jobledger.v1.job_pb2 import FailurePolicy
from jobledger.v1.worker_service_pb2 import ChunkFailure, FailChunksRequest

from tests.support.api import Api
from tests.support.errors import assert_entry_refused, invalid
from tests.support.states import (
    CHUNK_CANCELLED,
    CHUNK_COMPLETED,
    CHUNK_FAILED,
    CHUNK_PENDING,
    CHUNK_PROCESSING,
    COMPLETED,
    FAILED,
    LEASE_LOST,
    OK,
    REFUSED,
    RUNNING,
    chunk_states,
    summary,
)

FAIL_FAST = FailurePolicy.FAILURE_POLICY_FAIL_FAST
AT_ONCE = {"initial_backoff": timedelta(0)}


async def test_a_failed_attempt_is_retried_after_its_backoff(api: Api, kind: str):
    policy = {"initial_backoff": timedelta(minutes=10), "jitter": 0}
    job_id = (await api.create(kind, retry_policy=policy)).job_id
    [claimed] = await api.claim(kind)
    [result] = await api.fail(claimed)
    assert (result.status, result.chunk_state) == (OK, CHUNK_PENDING)
    job = await api.get(job_id)
    chunk = job.chunks[0]
    assert job.state == RUNNING
    assert (chunk.state, chunk.attempt, chunk.error.code) == (CHUNK_PENDING, 1, "BOOM")
    assert chunk.next_attempt_time == result.next_attempt_time
    assert result.next_attempt_time.ToDatetime() - job.update_time.ToDatetime() == timedelta(minutes=10)
    assert not chunk.HasField("end_time")
    assert not chunk.HasField("lease_expire_time")
    assert not job.HasField("error")


async def test_jitter_draws_a_part_of_the_wait(api: Api, kind: str):
    policy = {"initial_backoff": timedelta(minutes=10), "jitter": 0.5}
    job_id = (await api.create(kind, retry_policy=policy, item_count=200, chunk_size=1)).job_id
    results = await api.fail(*await api.claim(kind, 200))
    decided = (await api.get(job_id)).update_time.ToDatetime()
    waits = {result.next_attempt_time.ToDatetime() - decided for result in results}
    assert len(waits) > 1
    assert timedelta(minutes=5) <= min(waits) <= max(waits) <= timedelta(minutes=15)


async def test_a_backoff_grows_to_its_ceiling(api: Api, kind: str):
    policy = {"initial_backoff": timedelta(milliseconds=10), "multiplier": 10, "jitter": 0, "max_attempts": 9}
    policy["max_backoff"] = timedelta(milliseconds=500)
    job_id = (await api.create(kind, retry_policy=policy)).job_id
    waits = []
    for _ in range(4):
        [claimed] = await api.claim(kind, wait=timedelta(seconds=30))
        [result] = await api.fail(claimed)
        update_time = (await api.get(job_id)).update_time
        waits.append((result.next_attempt_time.ToNanoseconds() - update_time.ToNanoseconds()) / 1e6)
    assert waits == [10, 100, 500, 500]


async def test_the_last_attempt_is_final(api: Api, kind: str):
    job_id = (await api.create(kind, retry_policy=AT_ONCE | {"max_attempts": 2})).job_id
    [first] = await api.claim(kind)
    assert (await api.fail(first, code="FIRST"))[0].chunk_state == CHUNK_PENDING
    [second] = await api.claim(kind)
    assert second.chunk.attempt == 2
    assert second.chunk.error.code == "FIRST"
    [result] = await api.fail(second, code="SECOND")
    assert (result.chunk_state, result.HasField("next_attempt_time")) == (CHUNK_FAILED, False)
    job = await api.get(job_id)
    assert (job.state, job.error.code, job.error.chunk_index) == (FAILED, "SECOND", 0)
    assert job.HasField("end_time")
    assert job.chunks[0].HasField("end_time")


async def test_an_error_is_gone_once_the_chunk_is_completed(api: Api, kind: str):
    job_id = (await api.create(kind, retry_policy=AT_ONCE)).job_id
    await api.fail(*await api.claim(kind))
    await api.complete(*await api.claim(kind))
    job = await api.get(job_id)
    assert job.state == COMPLETED
    assert not job.chunks[0].HasField("error")


async def test_what_is_not_retryable_is_final_at_once(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    [result] = await api.fail(*await api.claim(kind), not_retryable=True)
    assert result.chunk_state == CHUNK_FAILED
    assert (await api.get(job_id)).state == FAILED


async def test_the_job_names_code_message_stage_and_chunk(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=3, chunk_size=1)).job_id
    claimed = await api.claim(kind, 3)
    await api.report(claimed[1], stage="transcode_720p")
    error = WorkError(code="CUDA_OUT_OF_MEMORY", message="24 GiB were not enough", chunk_index=99)
    failure = ChunkFailure(lease_token=claimed[1].lease.token, error=error, not_retryable=True)
    await api.work.FailChunks(FailChunksRequest(failures=[failure]))
    await api.complete(claimed[0], claimed[2])
    job = await api.get(job_id)
    assert job.state == FAILED
    error = WorkError(code=error.code, message=error.message, stage="transcode_720p", chunk_index=1)
    assert job.error == job.chunks[1].error == error


async def test_run_all_lets_the_others_finish(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=3, chunk_size=1)).job_id
    first, second = await api.claim(kind, 2)
    await api.fail(first, not_retryable=True)
    job = await api.get(job_id)
    assert (job.state, job.HasField("error")) == (RUNNING, False)
    await api.complete(second, *await api.claim(kind))
    job = await api.get(job_id)
    assert job.state == FAILED
    assert chunk_states(job) == [CHUNK_FAILED, CHUNK_COMPLETED, CHUNK_COMPLETED]


async def test_fail_fast_fails_the_job_at_once_and_cancels_the_rest(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=4, chunk_size=1, failure_policy=FAIL_FAST)).job_id
    claimed = await api.claim(kind, 3)
    await api.complete(claimed[0])
    await api.fail(claimed[1], not_retryable=True)
    job = await api.get(job_id)
    assert (job.state, job.error.chunk_index) == (FAILED, 1)
    assert chunk_states(job) == [CHUNK_COMPLETED, CHUNK_FAILED, CHUNK_CANCELLED, CHUNK_CANCELLED]
    assert summary(job) == {"total": 4, "completed": 1, "failed": 1, "cancelled": 2}
    assert (await api.complete(claimed[2]))[0].status == LEASE_LOST
    assert await api.get(job_id) == job


async def test_fail_fast_waits_for_the_attempts_to_be_used(api: Api, kind: str):
    policy = AT_ONCE | {"max_attempts": 2}
    job_id = (await api.create(kind, item_count=2, chunk_size=1, failure_policy=FAIL_FAST, retry_policy=policy)).job_id
    await api.fail(*await api.claim(kind))
    job = await api.get(job_id)
    assert (job.state, chunk_states(job)) == (RUNNING, [CHUNK_PENDING, CHUNK_PENDING])


async def test_failing_again_under_the_same_lease_answers_ok_and_changes_nothing(api: Api, kind: str):
    job_id = (await api.create(kind, retry_policy=AT_ONCE)).job_id
    [claimed] = await api.claim(kind)
    await api.fail(claimed)
    job = await api.get(job_id)
    [again] = await api.fail(claimed, code="ANOTHER", not_retryable=True)
    assert again.status == OK
    assert await api.get(job_id) == job


async def test_a_progress_that_was_lost_with_its_attempt_does_not_lower_the_jobs_percent(api: Api, kind: str):
    job_id = (await api.create(kind, retry_policy=AT_ONCE)).job_id
    [claimed] = await api.claim(kind)
    await api.report(claimed, percent=80)
    await api.fail(claimed)
    [claimed] = await api.claim(kind)
    assert claimed.chunk.progress.percent == 0
    await api.report(claimed, percent=10)
    job = await api.get(job_id)
    assert (job.progress.percent, job.chunks[0].progress.percent) == (80, 10)
    assert job.chunks[0].state == CHUNK_PROCESSING


@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("error.stage", {"error": {"code": "A", "stage": "x" * 129}}),
        ("retry_delay", {"error": {"code": "A"}, "retry_delay": timedelta(days=8)}),
        ("error.code", {"error": {"code": "x" * 129}}),
        ("error.message", {"error": {"code": "A", "message": "x" * 4_097}}),
    ],
)
async def test_a_failure_that_breaks_a_rule_is_refused_alone(
    api: Api, kind: str, field: str, broken: dict[str, object]
):
    job_id = (await api.create(kind, item_count=2, chunk_size=1, retry_policy=AT_ONCE)).job_id
    bad, good = await api.claim(kind, 2)
    before = (await api.get(job_id)).chunks[0]
    failures = [
        ChunkFailure(lease_token=bad.lease.token, **broken),
        ChunkFailure(lease_token=good.lease.token, error={"code": "A"}),
    ]
    results = (await api.work.FailChunks(FailChunksRequest(failures=failures))).results
    assert [one.status for one in results] == [REFUSED, OK]
    assert_entry_refused(results[0].error, field)
    job = await api.get(job_id)
    assert (job.chunks[0], job.chunks[1].error.code) == (before, "A")


@pytest.mark.parametrize("broken", [{}, {"error": {"message": "no code"}}])
async def test_a_failure_without_a_code_refuses_the_call(api: Api, kind: str, broken: dict[str, object]):
    job_id = (await api.create(kind, item_count=2, chunk_size=1)).job_id
    good, bad = await api.claim(kind, 2)
    before = await api.get(job_id)
    failures = [
        ChunkFailure(lease_token=good.lease.token, error={"code": "A"}),
        ChunkFailure(lease_token=bad.lease.token, **broken),
    ]
    with invalid("failures[1].error.code"):
        await api.work.FailChunks(FailChunksRequest(failures=failures))
    assert await api.get(job_id) == before
