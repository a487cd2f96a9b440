"""A limit of 0: no job of the scope begins, whatever it held or waited for."""

import grpc
import pytest
from jobledger.v1.job_pb2 import Job
from jobledger.v1.limit_service_pb2 import Limit
from jobledger.v1.worker_service_pb2 import ClaimChunkRequest

from tests.support.api import Api
from tests.support.errors import refused
from tests.support.limits import (
    delete_limit,
    each_scope,
    granted,
    kind_scope,
    label_scope,
    limit,
    places,
    set_limit,
)
from tests.support.states import QUEUED

WAIT = {"seconds": 20}
"""Of a claim that gets something at once."""


async def test_zero_pauses_a_scope(api: Api, kind: str):
    label, ann = kind, label_scope(kind, "ann")
    assert await set_limit(api, ann, 0) == Limit(scope=ann, max_running=0)
    await set_limit(api, kind_scope(f"{kind}.paused"), 0)
    of_ann = await api.create(kind, labels={label: "ann"}, limited_labels=[label])
    of_bob = await api.create(kind, labels={label: "bob"}, limited_labels=[label])
    of_kind = await api.create(f"{kind}.paused")
    assert [bool((await api.get(one.job_id)).holds) for one in (of_ann, of_bob, of_kind)] == [
        True,
        False,
        True,
    ]
    assert (of_ann.holds[0].scope, of_kind.holds[0].scope) == (ann, kind_scope(f"{kind}.paused"))
    assert [one.job_id for one in await api.claim(kind, 10)] == [of_bob.job_id]
    assert await api.claim(f"{kind}.paused", 10) == []
    assert (await limit(api, ann)).waiting == 1
    await set_limit(api, ann, 1)
    await granted(api, of_ann.job_id)


@pytest.mark.parametrize("limited", [True, False])
async def test_a_pause_stops_what_was_let_through_or_came_before_it(api: Api, kind: str, limited: bool):
    label, ann, each = kind, label_scope(kind, "ann"), each_scope(kind)
    if limited:
        await set_limit(api, each, 5)

    async def create(user: str, **fields: object) -> Job:
        return await api.create(kind, labels={label: user}, limited_labels=[label], **fields)

    begun = await create("ann", item_count=2, chunk_size=1, priority=9)
    waits = [await create("ann", priority=priority) for priority in (7, 8)]
    assert [one.job_id for one in await api.claim(kind)] == [begun.job_id]
    await set_limit(api, ann, 0)
    of_bob = await create("bob")
    assert [one.job_id for one in await api.claim(kind)] == [begun.job_id], "it has begun"
    assert [one.job_id for one in await api.claim(kind, wait=WAIT)] == [of_bob.job_id]
    assert await places(api, *waits) == [2, 1]
    assert {(await api.get(one.job_id)).state for one in waits} == {QUEUED}
    assert await limit(api, ann) == Limit(scope=ann, max_running=0, running=int(limited), waiting=2)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "CHUNK_NOT_CLAIMABLE"):
        await api.work.ClaimChunk(ClaimChunkRequest(job_id=waits[0].job_id, chunk_index=0, worker="w"))
    await set_limit(api, ann, 2 + limited)
    for one in waits:
        await granted(api, one.job_id)
    assert {one.job_id for one in await api.claim(kind, 3)} == {one.job_id for one in waits}


async def test_a_named_chunk_of_a_job_under_a_pause_is_not_claimed(api: Api, kind: str):
    job = await api.create(kind)
    await set_limit(api, kind_scope(kind), 0)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "CHUNK_NOT_CLAIMABLE"):
        await api.work.ClaimChunk(ClaimChunkRequest(job_id=job.job_id, chunk_index=0, worker="w"))
    await delete_limit(api, kind_scope(kind))
    assert (
        await api.work.ClaimChunk(ClaimChunkRequest(job_id=job.job_id, chunk_index=0, worker="w"))
    ).chunk.job_id == job.job_id


async def test_a_pause_for_each_value_stops_values_that_no_limit_has_counted(api: Api, kind: str):
    job = await api.create(kind, labels={kind: "ann"}, limited_labels=[kind])
    await set_limit(api, each_scope(kind), 0)
    assert await api.claim(kind, 3) == []
    ann = label_scope(kind, "ann")
    assert (await api.get(job.job_id)).holds[0].scope == ann
    assert await limit(api, ann) == Limit(scope=ann, max_running=0, waiting=1, inherited=True)
    await set_limit(api, each_scope(kind), 1)
    await granted(api, job.job_id)
    assert [one.job_id for one in await api.claim(kind, 3)] == [job.job_id]
