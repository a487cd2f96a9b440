"""Why a lease must stop, or is lost: its outcome says what ended the work, with the reason of a cancellation."""

from datetime import timedelta

import pytest
from jobledger.v1.event_pb2 import ChangeType
from jobledger.v1.job_pb2 import FailurePolicy, JobState
from jobledger.v1.worker_service_pb2 import (
    ClaimedChunk,
    HeartbeatResult,
    LeaseResult,
    LeaseStop,
    StopCause,
)

from tests.support.api import Api
from tests.support.states import CANCEL_REQUESTED, CANCELLED, LEASE_LOST, OK

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
AT_ONCE = {"initial_backoff": timedelta(0)}
REASON = "the wrong file"


def stop_of(result: HeartbeatResult | LeaseResult) -> tuple[str, str]:
    """Return the cause of a stop, and the caller's reason."""
    assert result.HasField("stop")
    return StopCause.Name(result.stop.cause).removeprefix("STOP_CAUSE_"), result.stop.reason


async def losses(api: Api, claimed: ClaimedChunk) -> set[tuple[str, str]]:
    """Return why a lost lease is lost, as each call says it."""
    results = [
        await api.report(claimed, percent=1),
        *await api.complete(claimed),
        *await api.fail(claimed),
        *await api.release(claimed),
    ]
    assert {result.status for result in results} == {LEASE_LOST}
    return {stop_of(result) for result in results}


async def test_a_cancellation_tells_its_reason(api: Api, kind: str):
    job = await api.create(kind, item_count=2, chunk_size=1)
    first, second = await api.claim(kind, 2)
    assert not (await api.report(first, percent=1)).HasField("stop")
    await api.cancel(job.job_id, reason=REASON)
    result = await api.report(first, percent=2)
    assert (result.status, stop_of(result)) == (CANCEL_REQUESTED, ("JOB_CANCELLED", REASON))
    [released] = await api.release(first)
    assert (released.status, released.HasField("stop")) == (OK, False)
    await api.cancel(job.job_id, force=True)
    assert (await api.get(job.job_id)).state == CANCELLED
    assert await losses(api, second) == {("JOB_CANCELLED", REASON)}
    await api.retry(job.job_id)
    assert await losses(api, second) == {("SUPERSEDED", "")}
    await api.claim(kind, 2)
    assert await losses(api, second) == {("SUPERSEDED", "")}


async def test_a_cancellation_without_a_reason(api: Api, kind: str):
    job = await api.create(kind)
    [claimed] = await api.claim(kind)
    await api.cancel(job.job_id, force=True)
    assert await losses(api, claimed) == {("JOB_CANCELLED", "")}


async def test_a_job_that_another_chunk_failed(api: Api, kind: str):
    await api.create(kind, item_count=2, chunk_size=1, failure_policy=FailurePolicy.FAILURE_POLICY_FAIL_FAST)
    failing, other = await api.claim(kind, 2)
    await api.fail(failing, not_retryable=True)
    assert await losses(api, other) == {("JOB_FAILED", "")}


async def test_an_attempt_that_its_worker_ended(api: Api, kind: str):
    await api.create(kind)
    [claimed] = await api.claim(kind)
    await api.complete(claimed)
    assert stop_of(await api.report(claimed, percent=1)) == ("ATTEMPT_ENDED", "")
    [failed] = await api.fail(claimed)
    assert (failed.status, stop_of(failed)) == (LEASE_LOST, ("ATTEMPT_ENDED", ""))


async def test_a_lease_of_a_deleted_job_and_of_another_job_with_its_id(api: Api, kind: str):
    job = await api.create(kind)
    [claimed] = await api.claim(kind)
    await api.delete(job.job_id, force=True)
    assert await losses(api, claimed) == {("NOT_FOUND", "")}
    await api.create(kind, job_id=job.job_id)
    assert await losses(api, claimed) == {("NOT_FOUND", "")}


TIMES = {
    "LEASE_EXPIRED": ({"retry_policy": {"initial_backoff": HOUR}}, SECOND, ChangeType.CHANGE_TYPE_LEASE_EXPIRED),
    "ATTEMPT_TIMED_OUT": (
        {"attempt_timeout": SECOND, "retry_policy": {"initial_backoff": HOUR}},
        HOUR,
        ChangeType.CHANGE_TYPE_ATTEMPT_TIMED_OUT,
    ),
    "RUN_TIMED_OUT": ({"run_timeout": SECOND}, HOUR, ChangeType.CHANGE_TYPE_RUN_TIMED_OUT),
}


@pytest.mark.parametrize("cause", TIMES)
async def test_what_time_ends(api: Api, kind: str, cause: str):
    fields, lease, recorded = TIMES[cause]
    job = await api.create(kind, **fields)
    async with api.watch_job(job.job_id) as watch:
        await watch.message()
        [claimed] = await api.claim(kind, lease_duration=lease)
        if lease != SECOND:  # heartbeats do not extend it; the cause is the same before the end is recorded
            while (result := await api.report(claimed)).status == OK:
                pass
            assert stop_of(result) == (cause, "")
        await watch.until(lambda message: any(one.type == recorded for one in message.event.changes))
    assert await losses(api, claimed) == {(cause, "")}


async def test_a_refused_report_says_nothing_about_a_stop(api: Api, kind: str):
    job = await api.create(kind)
    [claimed] = await api.claim(kind)
    await api.cancel(job.job_id, reason=REASON)
    assert (await api.get(job.job_id)).state == JobState.JOB_STATE_CANCELLING
    result = await api.report(claimed, percent=101)
    assert (result.HasField("error"), result.stop) == (True, LeaseStop())
