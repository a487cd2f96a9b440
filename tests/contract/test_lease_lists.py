"""The four calls about many leases take 1 to 1,000 of them, each once, and refuse a list that is none of that."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
from jobledger.v1.job_pb2 import JOB_VIEW_BASIC
from jobledger.v1.worker_service_pb2 import (
    ChunkCompletion,
    ChunkFailure,
    ChunkRelease,
    ClaimedChunk,
    CompleteChunksRequest,
    FailChunksRequest,
    HeartbeatRequest,
    LeaseReport,
    ReleaseChunksRequest,
)

from tests.support.api import Api
from tests.support.errors import invalid

Send = Callable[[Api, list[str]], Awaitable[object]]


@dataclass
class Call:
    """One of the calls: its list, and how to send tokens."""

    field: str
    send: Send


CALLS = [
    Call(
        "reports",
        lambda api, tokens: api.work.Heartbeat(
            HeartbeatRequest(reports=[LeaseReport(lease_token=token, progress={"percent": 9}) for token in tokens])
        ),
    ),
    Call(
        "completions",
        lambda api, tokens: api.work.CompleteChunks(
            CompleteChunksRequest(completions=[ChunkCompletion(lease_token=token) for token in tokens])
        ),
    ),
    Call(
        "failures",
        lambda api, tokens: api.work.FailChunks(
            FailChunksRequest(failures=[ChunkFailure(lease_token=token, error={"code": "A"}) for token in tokens])
        ),
    ),
    Call(
        "releases",
        lambda api, tokens: api.work.ReleaseChunks(
            ReleaseChunksRequest(releases=[ChunkRelease(lease_token=token) for token in tokens])
        ),
    ),
]
calls = pytest.mark.parametrize("call", CALLS, ids=["Heartbeat", "CompleteChunks", "FailChunks", "ReleaseChunks"])


@calls
async def test_none_are_refused(api: Api, call: Call):
    with invalid(call.field):
        await call.send(api, [])


@calls
async def test_more_than_a_thousand_are_refused(api: Api, kind: str, call: Call):
    job = await api.create(kind, item_count=1_001, chunk_size=1)
    claimed: list[ClaimedChunk] = []
    while len(claimed) < 1_001:  # a commit that others share may have room for some
        claimed += await api.claim(kind, min(1_001 - len(claimed), 1_000), lease_duration={"seconds": 3_600})
    before = await api.get(job.job_id, view=JOB_VIEW_BASIC)
    with invalid(call.field):
        await call.send(api, [one.lease.token for one in claimed])
    assert await api.get(job.job_id, view=JOB_VIEW_BASIC) == before


@calls
async def test_one_twice_is_refused_where_it_comes_again(api: Api, kind: str, call: Call):
    job = await api.create(kind, item_count=2, chunk_size=1)
    first, second = [one.lease.token for one in await api.claim(kind, 2)]
    before = await api.get(job.job_id)
    with invalid(f"{call.field}[2].lease_token"):
        await call.send(api, [first, second, first])
    assert await api.get(job.job_id) == before


@pytest.mark.one_store("it is refused before the store is asked")
@calls
@pytest.mark.parametrize("token", ["", "x", "💥", "AAAA" * 5, "AAAA" * 20 + "=", "+/" * 30, "x" * 5_000])
async def test_what_is_no_token_is_refused(api: Api, kind: str, call: Call, token: str):
    job = await api.create(kind)
    [claimed] = await api.claim(kind)
    before = await api.get(job.job_id)
    with invalid(f"{call.field}[1].lease_token"):
        await call.send(api, [claimed.lease.token, token])
    assert await api.get(job.job_id) == before
