"""What a call about one job may demand: an etag, which progress leaves as it is, and a uid, which names one job."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from jobledger.v1.job_pb2 import Job, JobView
from jobledger.v1.job_service_pb2 import CancelOutcome, ListAttemptsRequest
from jobledger.v1.worker_service_pb2 import ClaimChunkRequest, ClaimedChunk

from tests.support.api import Api
from tests.support.errors import invalid, refused
from tests.support.limits import granted, kind_scope, set_limit
from tests.support.server import Server
from tests.support.states import CANCELLED, COMPLETED, OK, QUEUED, RUNNING

PRIORITY = {"update_mask": {"paths": ["priority"]}}
LATER = datetime(2100, 1, 1, tzinfo=UTC)
Connect = Callable[[Server], Api]
Call = Callable[[Api, str, str], Awaitable[object]]


async def claim_one(api: Api, job_id: str, index: int = 0, **fields: object) -> ClaimedChunk:
    request = ClaimChunkRequest(job_id=job_id, chunk_index=index, worker="w", **fields)
    return (await api.work.ClaimChunk(request)).chunk


async def watched(api: Api, job_id: str, uid: str) -> None:
    """Watch a job up to its first message."""
    async with api.watch_job(job_id, uid=uid) as watch:
        assert (await watch.message()).job.uid == uid


CALLS: dict[str, Call] = {
    "CancelJob": lambda api, job_id, uid: api.cancel(job_id, uid=uid),
    "RetryJob": lambda api, job_id, uid: api.retry(job_id, uid=uid),
    "UpdateJob": lambda api, job_id, uid: api.update(job_id, priority=9, uid=uid, **PRIORITY),
    "DeleteJob": lambda api, job_id, uid: api.delete(job_id, force=True, uid=uid),
    "GetJob": lambda api, job_id, uid: api.get(job_id, uid=uid),
    "WatchJob": watched,
    "ListChunks": lambda api, job_id, uid: api.list_chunks(job_id, uid=uid),
    "ListAttempts": lambda api, job_id, uid: api.jobs.ListAttempts(ListAttemptsRequest(job_id=job_id, uid=uid)),
    "ClaimChunk": lambda api, job_id, uid: claim_one(api, job_id, uid=uid),
}


async def again(api: Api, kind: str, **fields: object) -> tuple[Job, Job]:
    """Return a job that was deleted, and another one with its job_id."""
    first = await api.create(kind, job_id=kind, **fields)
    await api.delete(kind, force=True)
    return first, await api.create(kind, job_id=kind, **fields)


async def test_an_etag_read_before_a_hundred_percents_is_good_beside_and_after_them(
    api: Api, kind: str, connect: Connect, replicas: list[Server]
):
    job = await api.create(kind)
    [claimed] = await api.claim(kind)
    seen, worker = await api.get(job.job_id), connect(replicas[-1])
    assert seen.etag != job.etag, "the state is another one"

    async def report() -> None:
        for percent in range(1, 101):
            result = await worker.report(claimed, percent=percent)
            assert result.status == OK

    reports = asyncio.create_task(report())
    updated = await api.update(job.job_id, priority=9, etag=seen.etag, **PRIORITY)
    await reports
    assert (updated.state, updated.priority) == (RUNNING, 9)
    shown = await api.get(job.job_id)
    assert shown.progress.percent == 100
    assert shown.revision > seen.revision + 1
    assert shown.etag == updated.etag != seen.etag
    with refused(grpc.StatusCode.ABORTED, "ETAG_MISMATCH"):
        await api.cancel(job.job_id, etag=seen.etag)
    answer = await api.cancel(job.job_id, etag=updated.etag)
    assert answer.outcome == CancelOutcome.CANCEL_OUTCOME_REQUESTED


async def test_chunks_artifacts_and_releases_leave_an_etag_as_it_is(api: Api, kind: str):
    job = await api.create(kind, item_count=4, chunk_size=1)
    first, second = await api.claim(kind, 2)
    etag = (await api.get(job.job_id)).etag
    [third] = await api.claim(kind)
    await api.report(first, message="half", artifacts={"a": {"uri": "https://x.example/a"}})
    await api.complete(first, result_uri="https://x.example/r")
    await api.release(second)
    await api.fail(third, not_retryable=True)
    shown = await api.get(job.job_id)
    assert (shown.etag, shown.chunks_summary.completed, shown.chunks_summary.failed) == (etag, 1, 1)
    retried = await api.retry(job.job_id, chunk_indexes=[third.chunk.index], etag=etag)
    assert (retried.state, retried.etag == etag) == (RUNNING, False), "a caller changed it"


async def test_holds_leave_an_etag_as_it_is(api: Api, kind: str):
    await set_limit(api, kind_scope(kind), 1)
    first, second = await api.create(kind), await api.create(kind)
    soon = await api.create(kind, schedule_time=datetime.now(UTC) + timedelta(seconds=0.2))
    await api.cancel(first.job_id, etag=first.etag)
    assert (await granted(api, second.job_id)).etag == second.etag
    await api.cancel(second.job_id, etag=second.etag)
    shown = await granted(api, soon.job_id)
    assert (shown.etag, shown.revision > soon.revision) == (soon.etag, True)


async def test_each_change_by_a_caller_and_each_state_has_another_etag(api: Api, kind: str):
    job = await api.create(kind)
    etags = [job.etag]
    etags.append((await api.update(job.job_id, priority=9, **PRIORITY)).etag)
    etags.append((await api.cancel(job.job_id)).job.etag)
    etags.append((await api.retry(job.job_id)).etag)
    [claimed] = await api.claim(kind)
    etags.append((await api.get(job.job_id)).etag)
    etags.append((await api.cancel(job.job_id, grace_period={"seconds": 600})).job.etag)
    etags.append((await api.cancel(job.job_id, grace_period={"seconds": 300})).job.etag)
    await api.complete(claimed)
    shown = await api.get(job.job_id)
    etags.append(shown.etag)
    assert (shown.state, len({*etags})) == (COMPLETED, len(etags))
    for etag in etags[:-1]:
        with refused(grpc.StatusCode.ABORTED, "ETAG_MISMATCH") as refusal:
            await api.delete(job.job_id, etag=etag)
        assert refusal.metadata["etag"] == shown.etag
    await api.delete(job.job_id, etag=shown.etag)


async def test_an_etag_is_the_same_wherever_the_job_is_shown(api: Api, kind: str):
    job = await api.create(kind)
    async with api.watch_job(job.job_id) as watch:
        await watch.message()
        [claimed] = await api.claim(kind)
        began = await watch.change()
        await api.report(claimed, percent=50)
        changed = await watch.change()
    [listed] = (await api.list_jobs(filter={"kinds": [kind]})).jobs
    assert {began.job.etag, changed.job.etag, listed.etag} == {(await api.get(job.job_id)).etag}


@pytest.mark.guarantee("3d.8")
@pytest.mark.parametrize("method", CALLS)
async def test_a_call_with_the_uid_of_a_deleted_job_means_no_other(api: Api, kind: str, method: str):
    first, second = await again(api, kind)
    if method == "RetryJob":
        await api.cancel(kind)
    before = await api.get(kind)
    for uid in (first.uid, (await api.create(f"{kind}.other")).uid):
        with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND") as refusal:
            await CALLS[method](api, kind, uid)
        assert refusal.metadata["job_id"] == kind
    assert await api.get(kind) == before
    await CALLS[method](api, kind, second.uid)
    assert (await api.list_events(kind)).events[0].uid == second.uid


@pytest.mark.one_store("it is refused before the store is asked")
@pytest.mark.parametrize("method", CALLS)
async def test_a_uid_in_another_form_is_refused_with_all_else_that_is_wrong(api: Api, kind: str, method: str):
    with invalid("uid"):
        await CALLS[method](api, kind, "01890A5D-AC96-774B-BCCE-B302099A8057")
    with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
        await CALLS[method](api, kind, "01890a5d-ac96-774b-bcce-b302099a8057")


@pytest.mark.parametrize("view", ["STATUS", "BASIC", "DETAIL", "FULL"])
async def test_a_read_with_a_uid_is_that_of_the_job(api: Api, kind: str, view: str):
    first, second = await again(api, kind, item_count=300, chunk_size=1, input={"a": "b"})
    fields = {"view": JobView.Value(f"JOB_VIEW_{view}")}
    plain = await api.get(kind, **fields)
    assert await api.get(kind, uid=second.uid, **fields) == plain
    with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
        await api.get(kind, uid=first.uid, **fields)
    assert await api.get(kind, **fields) == plain


async def test_a_list_continues_only_in_its_job_with_a_uid_and_without(api: Api, kind: str):
    first = await api.create(kind, job_id=kind, item_count=3, chunk_size=1)
    token = (await api.list_chunks(kind, page_size=1, uid=first.uid)).next_page_token
    [next_chunk] = (await api.list_chunks(kind, page_size=1, page_token=token, uid=first.uid)).chunks
    assert next_chunk.index == 1
    await api.delete(kind, force=True)
    await api.create(kind, job_id=kind, item_count=3, chunk_size=1)
    for uid in first.uid, "":
        with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
            await api.list_chunks(kind, page_size=1, page_token=token, uid=uid)


async def test_a_retry_is_answered_again_to_the_same_request_with_its_uid(api: Api, kind: str):
    job = await api.job_in(CANCELLED, kind)
    fields = {"uid": job.uid, "request_id": kind}
    retried = await api.retry(job.job_id, **fields)
    assert (retried.state, await api.retry(job.job_id, **fields)) == (QUEUED, retried)
