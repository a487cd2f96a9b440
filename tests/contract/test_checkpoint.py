"""Checkpoints: what an attempt keeps for the next one, until the chunk is completed."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from jobledger.v1.worker_service_pb2 import (
    ChunkCompletion,
    ClaimChunkRequest,
    ClaimedChunk,
    CompleteChunksRequest,
    HeartbeatRequest,
    LeaseReport,
)

from tests.contract.test_leases import LEASE_EXPIRED, SECOND
from tests.support.api import Api
from tests.support.errors import assert_entry_refused
from tests.support.states import CANCELLED, CANCELLING, COMPLETED, FAILED, OK, REFUSED

KEPT = {"done": 7, "parts": ["a", None]}
AT_ONCE = {"initial_backoff": timedelta(0)}

End = Callable[[Api, ClaimedChunk, dict[str, Any]], Any]


def checkpoint_of(claimed: ClaimedChunk) -> dict[str, Any] | None:
    return MessageToDict(claimed.checkpoint) if claimed.HasField("checkpoint") else None


def of_bytes(size: int) -> Struct:
    """Return a Struct of so many bytes, encoded."""
    values = Struct()
    values.update({"x": "y"})
    values.update({"x": "y" * (size - values.ByteSize() - 5)})
    values.update({"x": "y" * (len(values["x"]) + size - values.ByteSize())})
    assert values.ByteSize() == size
    return values


ENDS: dict[str, End] = {
    "fail": lambda api, claimed, progress: api.fail(claimed, progress=progress),
    "release": lambda api, claimed, progress: api.release(claimed, progress=progress),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_the_next_attempt_gets_the_last_one_with_its_claim(api: Api, kind: str, end: End):
    await api.create(kind, retry_policy={**AT_ONCE, "max_attempts": 4})
    [first] = await api.claim(kind)
    assert checkpoint_of(first) is None
    await api.report(first, checkpoint={"done": 1})
    await api.report(first, percent=50)
    await end(api, first, {})
    [second] = await api.claim(kind)
    assert checkpoint_of(second) == {"done": 1}
    await end(api, second, {"checkpoint": KEPT})
    [third] = await api.claim(kind)
    assert checkpoint_of(third) == KEPT
    await api.report(third, checkpoint={})
    await end(api, third, {})
    [fourth] = await api.claim(kind)
    assert checkpoint_of(fourth) is None


async def test_it_outlives_a_lease_that_expires(api: Api, kind: str):
    job = await api.create(kind, retry_policy=AT_ONCE)
    async with api.watch_job(job.job_id) as watch:
        await watch.message()
        [claimed] = await api.claim(kind, lease_duration=timedelta(minutes=1))
        await api.report(claimed, checkpoint=KEPT, lease_duration=SECOND)
        await watch.until(lambda message: any(one.type == LEASE_EXPIRED for one in message.event.changes))
    [again] = await api.claim(kind)
    assert (again.chunk.attempt, checkpoint_of(again)) == (2, KEPT)


async def test_it_makes_no_event_and_nobody_but_the_worker_sees_it(api: Api, kind: str):
    job = await api.create(kind)
    [claimed] = await api.claim(kind)
    before = await api.get(job.job_id)
    assert (await api.report(claimed, checkpoint=KEPT)).status == OK
    after = await api.get(job.job_id)
    assert after.revision == before.revision
    after.chunks[0].lease_expire_time.CopyFrom(before.chunks[0].lease_expire_time)
    assert after == before
    request = ClaimChunkRequest(job_id=job.job_id, chunk_index=0, worker="w", task_id="t")
    await api.release(claimed)
    joined = [(await api.work.ClaimChunk(request)).chunk for _ in range(2)]
    assert [checkpoint_of(one) for one in joined] == [KEPT, KEPT]


async def test_it_goes_with_the_completion_and_stays_with_a_retry(api: Api, kind: str):
    job = await api.create(kind, item_count=2, chunk_size=1, retry_policy={"max_attempts": 1})
    done, failed = await api.claim(kind, 2)
    for claimed in (done, failed):
        await api.report(claimed, checkpoint={"chunk": claimed.chunk.index})
    completion = ChunkCompletion(lease_token=done.lease.token, progress={"checkpoint": KEPT})
    await api.work.CompleteChunks(CompleteChunksRequest(completions=[completion]))
    await api.fail(failed)
    assert (await api.get(job.job_id)).state == FAILED
    await api.retry(job.job_id)
    [again] = await api.claim(kind, 2)
    assert (again.chunk.index, checkpoint_of(again)) == (1, {"chunk": 1})
    await api.complete(again)
    assert (await api.get(job.job_id)).state == COMPLETED


@pytest.mark.parametrize("force", [True, False])
async def test_it_stays_with_a_chunk_that_is_cancelled_and_retried(api: Api, kind: str, force: bool):
    job = await api.create(kind)
    [claimed] = await api.claim(kind)
    await api.report(claimed, checkpoint={"done": 1})
    await api.cancel(job.job_id, force=force)
    if not force:
        assert (await api.get(job.job_id)).state == CANCELLING
        await api.release(claimed, progress={"checkpoint": {"done": 2}})
    assert (await api.get(job.job_id)).state == CANCELLED
    await api.retry(job.job_id)
    [again] = await api.claim(kind)
    assert checkpoint_of(again) == {"done": 1 if force else 2}


async def test_one_that_breaks_a_rule_is_refused_alone(api: Api, kind: str):
    await api.create(kind, item_count=4, chunk_size=1)
    claimed = await api.claim(kind, 4)
    deep: dict[str, Any] = {}
    for _ in range(25):
        deep = {"d": deep}
    nan = Struct()
    nan.fields["a"].number_value = float("nan")
    values = (of_bytes(4_097), deep, nan, of_bytes(4_096))
    reports = [
        LeaseReport(lease_token=one.lease.token, progress={"checkpoint": value})
        for one, value in zip(claimed, values, strict=True)
    ]
    results = (await api.work.Heartbeat(HeartbeatRequest(reports=reports))).results
    assert [result.status for result in results] == [REFUSED, REFUSED, REFUSED, OK]
    for result, path in zip(results, ("", ".d" * 24, ".a"), strict=False):
        assert_entry_refused(result.error, f"progress.checkpoint{path}")
    await api.release(*claimed)
    assert [one.HasField("checkpoint") for one in await api.claim(kind, 4)] == [False, False, False, True]
