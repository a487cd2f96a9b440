"""Time limits: an attempt, and a run, that take too long end as failures with TIMED_OUT, and their leases are lost."""

from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from grpc.aio import AioRpcError
from jobledger.v1.chunk_pb2 import AttemptOutcome, Chunk
from jobledger.v1.event_pb2 import ChangeType
from jobledger.v1.job_service_pb2 import CreateJobRequest
from jobledger.v1.worker_service_pb2 import WatchLeasesRequest

from tests.support.api import Api
from tests.support.states import CHUNK_CANCELLED, CHUNK_FAILED, CHUNK_PENDING, FAILED, LEASE_LOST, OK, QUEUED

ATTEMPT = ChangeType.CHANGE_TYPE_ATTEMPT_TIMED_OUT
RUN = ChangeType.CHANGE_TYPE_RUN_TIMED_OUT
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


def lease(chunk: Chunk, end: object) -> timedelta:
    """Return how long an attempt may take by the end of its lease."""
    return end.ToDatetime() - chunk.start_time.ToDatetime()


async def until(api: Api, job_id: str, kind: str, change: int) -> None:
    """Claim a chunk, keep its lease for as long as the service allows, and wait for a change of the job."""
    async with api.watch_job(job_id) as watch:
        await watch.message()
        for claimed in await api.claim(kind, 9, lease_duration=HOUR):
            await api.report(claimed, percent=50, lease_duration=HOUR)
        await watch.until(lambda message: any(one.type == change for one in message.event.changes))


@pytest.mark.guarantee("3c.8")
async def test_a_lease_ends_with_its_attempt_whatever_its_heartbeats_ask_for(api: Api, kind: str):
    await api.create(kind, attempt_timeout=timedelta(seconds=90))
    [claimed] = await api.claim(kind, lease_duration=timedelta(seconds=80))
    assert lease(claimed.chunk, claimed.lease.expire_time) == timedelta(seconds=80)
    extended = await api.report(claimed, lease_duration=HOUR)
    assert (extended.status, lease(claimed.chunk, extended.expire_time)) == (OK, timedelta(seconds=90))
    again = await api.report(claimed, percent=1)
    assert again.expire_time == extended.expire_time
    assert (await api.complete(claimed))[0].status == OK


@pytest.mark.guarantee("3c.8")
async def test_a_lease_is_never_longer_than_the_attempt_from_the_claim_on(api: Api, kind: str):
    await api.create(kind, attempt_timeout=timedelta(seconds=90))
    [claimed] = await api.claim(kind, lease_duration=HOUR)
    assert lease(claimed.chunk, claimed.lease.expire_time) == timedelta(seconds=90)


async def test_an_attempt_that_takes_too_long_is_a_failed_attempt(api: Api, kind: str):
    policy = {"initial_backoff": HOUR, "jitter": 0, "max_attempts": 2}
    job_id = (await api.create(kind, attempt_timeout=SECOND, retry_policy=policy)).job_id
    await until(api, job_id, kind, ATTEMPT)
    job = await api.get(job_id)
    [chunk] = job.chunks
    assert (chunk.state, chunk.attempt, chunk.error.code) == (CHUNK_PENDING, 1, "TIMED_OUT")
    assert chunk.error.message == "the attempt took longer than its attempt_timeout of 1s"
    [attempt] = job.attempts
    assert (attempt.outcome, attempt.error) == (AttemptOutcome.ATTEMPT_OUTCOME_TIMED_OUT, chunk.error)
    assert chunk.next_attempt_time.ToDatetime() - job.update_time.ToDatetime() == HOUR
    assert lease(chunk, job.update_time) >= SECOND


async def test_the_last_attempt_that_takes_too_long_fails_the_chunk_and_the_policy_applies(api: Api, kind: str):
    fields = {"failure_policy": "FAILURE_POLICY_FAIL_FAST", "retry_policy": {"max_attempts": 1}}
    job_id = (await api.create(kind, attempt_timeout=SECOND, chunks=[{}, {}], **fields)).job_id
    async with api.watch_job(job_id) as watch:
        await watch.message()
        [claimed] = await api.claim(kind, lease_duration=HOUR)
        last = (await watch.rest())[-1].job
    assert (last.state, last.error.code, last.error.chunk_index) == (FAILED, "TIMED_OUT", 0)
    assert [chunk.state for chunk in (await api.get(job_id)).chunks] == [CHUNK_FAILED, CHUNK_CANCELLED]
    assert (await api.complete(claimed))[0].status == LEASE_LOST


@pytest.mark.guarantee("3c.8")
async def test_a_run_that_takes_too_long_fails_its_job_and_its_workers_are_told(api: Api, kind: str):
    job_id = (await api.create(kind, run_timeout=SECOND, chunks=[{}, {}, {}])).job_id
    leases = api.work.WatchLeases(WatchLeasesRequest(kinds=[kind], worker="w"))
    assert (await leases.read()).check_all
    claimed = await api.claim(kind, 2, lease_duration=HOUR)
    while job_id not in (await leases.read()).job_ids:
        pass
    leases.cancel()
    job = await api.get(job_id)
    assert (job.state, job.error.code, job.error.HasField("chunk_index")) == (FAILED, "TIMED_OUT", False)
    assert job.error.message == "the job ran longer than its run_timeout of 1s"
    assert job.end_time.ToDatetime() - job.start_time.ToDatetime() >= SECOND
    assert [chunk.state for chunk in job.chunks] == [CHUNK_CANCELLED] * 3
    assert [one.outcome for one in job.attempts] == [AttemptOutcome.ATTEMPT_OUTCOME_CANCELLED] * 2
    assert (await api.report(claimed[0], percent=9)).status == LEASE_LOST
    assert (await api.complete(claimed[1]))[0].status == LEASE_LOST
    assert await api.get(job_id) == job


async def test_a_retry_starts_the_clock_of_the_run_anew(api: Api, kind: str):
    job_id = (await api.create(kind, run_timeout=SECOND, retry_policy={"max_attempts": 1})).job_id
    await until(api, job_id, kind, RUN)
    retried = await api.retry(job_id)
    assert (retried.state, retried.HasField("error")) == (QUEUED, False)
    await until(api, job_id, kind, RUN)
    job = await api.get(job_id)
    assert (job.state, job.error.code, job.retry_count) == (FAILED, "TIMED_OUT", 1)
    assert job.end_time.ToDatetime() - job.start_time.ToDatetime() >= SECOND


async def test_time_limits_count_from_the_claim_and_are_shown(api: Api, kind: str):
    limits = {"run_timeout": SECOND, "attempt_timeout": timedelta(seconds=2.5)}
    job = await api.create(kind, **limits)
    other = f"{kind}.first"
    await until(api, (await api.create(other, run_timeout=SECOND)).job_id, other, RUN)  # begun later, and over by now
    job = await api.get(job.job_id)
    assert (job.state, job.run_timeout.ToTimedelta()) == (QUEUED, SECOND)
    assert job.attempt_timeout.ToTimedelta() == timedelta(seconds=2.5)


@pytest.mark.parametrize("field", ["run_timeout", "attempt_timeout"])
@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (Duration(nanos=999_999_999), "value 0.999999 s must be from 1 s to 31622400 s"),
        (Duration(seconds=366 * 86_400, nanos=1_000), "value 31622400.000001 s must be from 1 s to 31622400 s"),
    ],
)
async def test_a_limit_out_of_bounds_is_refused_with_its_bounds(api: Api, field: str, value: Duration, rule: str):
    with pytest.raises(AioRpcError) as refused:
        await api.jobs.CreateJob(CreateJobRequest(kind="test.bounds", **{field: value}))
    assert f"{field}: {rule}" in str(refused.value.details())
