"""A claim that is repeated with its request_id answers with the same leases, at every replica."""

from contextlib import closing
from datetime import timedelta

import grpc
import pytest
from jobledger.v1.worker_service_pb2 import ChunkCompletion, ClaimChunksRequest, ClaimedChunk, CompleteChunksRequest
from jobledger_service.core.database.engines import open_database
from sqlalchemy import text

from tests.support.api import Api, fresh_kind
from tests.support.errors import invalid
from tests.support.server import Server
from tests.support.states import CANCEL_REQUESTED, OK


def tokens(claimed: list[ClaimedChunk]) -> list[str]:
    return [one.lease.token for one in claimed]


@pytest.mark.guarantee("3c.7")
async def test_a_repeated_claim_gets_the_same_leases_at_every_replica(replicas: list[Server], api: Api, kind: str):
    job = await api.create(kind, item_count=10, chunk_size=1, input={"site": "example.org"})
    request_id = fresh_kind()
    first = await api.claim(kind, 3, request_id=request_id)
    for server in replicas:
        async with grpc.aio.insecure_channel(server.target) as channel:
            again = await Api(channel).claim(kind, 5, worker="another name", request_id=request_id)
        assert tokens(again) == tokens(first)
        assert [one.chunk.attempt for one in again] == [1, 1, 1]
        assert [dict(one.job_input) for one in again] == [{"site": "example.org"}] * 3
        assert all(
            later.lease.expire_time.ToNanoseconds() > one.lease.expire_time.ToNanoseconds()
            for one, later in zip(first, again, strict=True)
        )
    others = await api.claim(kind, 3, request_id=fresh_kind())
    assert not set(tokens(others)) & set(tokens(first))
    assert (await api.get(job.job_id)).chunks_summary.processing == 6


async def test_of_leases_that_ended_in_part_a_repetition_gets_the_rest_and_then_others(api: Api, kind: str):
    await api.create(kind, item_count=6, chunk_size=1)
    request_id = fresh_kind()
    first = await api.claim(kind, 3, request_id=request_id)
    await api.complete(first[0])
    assert tokens(await api.claim(kind, 3, request_id=request_id)) == tokens(first[1:])
    await api.complete(*first[1:])
    anew = await api.claim(kind, 3, request_id=request_id)
    assert [one.chunk.index for one in anew] == [3, 4, 5]
    assert tokens(await api.claim(kind, 3, request_id=request_id)) == tokens(anew)


async def test_a_repeated_report_with_a_claim_gets_the_same_leases(api: Api, kind: str):
    await api.create(kind, item_count=4, chunk_size=1)
    [held] = await api.claim(kind)
    claim = ClaimChunksRequest(kinds=[kind], worker="w", max_chunks=2, request_id=fresh_kind())
    request = CompleteChunksRequest(completions=[ChunkCompletion(lease_token=held.lease.token)], claim=claim)
    answers = [await api.work.CompleteChunks(request) for _ in range(2)]
    assert [[result.status for result in answer.results] for answer in answers] == [[OK]] * 2
    assert tokens(list(answers[0].claimed)) == tokens(list(answers[1].claimed))
    assert [one.chunk.index for one in answers[1].claimed] == [1, 2]


async def test_a_claim_that_got_nothing_is_none_to_repeat(api: Api, kind: str):
    request_id = fresh_kind()
    assert await api.claim(kind, request_id=request_id) == []
    await api.create(kind)
    [claimed] = await api.claim(kind, request_id=request_id)
    await api.cancel(claimed.job_id)
    [again] = await api.claim(kind, request_id=request_id)
    assert again.lease.token == claimed.lease.token
    assert (await api.report(again)).status == CANCEL_REQUESTED


async def test_two_claims_at_once_with_one_request_id_share_their_leases(replicas: list[Server], api: Api, kind: str):
    await api.create(kind, item_count=50, chunk_size=1)
    request = ClaimChunksRequest(
        kinds=[kind], worker="w", max_chunks=2, request_id=fresh_kind(), wait=timedelta(seconds=5)
    )
    async with (
        grpc.aio.insecure_channel(replicas[0].target) as one,
        grpc.aio.insecure_channel(replicas[-1].target) as other,
    ):
        calls = [Api(channel).work.ClaimChunks(request) for channel in (one, other) * 4]
        answers = [tokens(list((await call).chunks)) for call in calls]
    assert len(answers[0]) == 2
    assert answers == [answers[0]] * 8


async def test_a_request_id_is_bounded(api: Api):
    with invalid("request_id"):
        await api.claim("k", request_id="x" * 129)


async def test_a_remembered_claim_that_cannot_be_read_is_a_new_one(server: Server, api: Api, kind: str, store: str):
    if store == "sqlite":
        pytest.skip("the server has the file for itself")
    await api.create(kind, item_count=2, chunk_size=1)
    request_id = fresh_kind()
    [first] = await api.claim(kind, request_id=request_id)
    with closing(open_database(server.database)) as database, database.write() as connection:
        key = {"key": f"/default/{request_id}"}
        connection.execute(text("UPDATE requests SET leases = '\\xff' WHERE request_key = :key"), key)
    [second] = await api.claim(kind, request_id=request_id)
    assert second.chunk.index != first.chunk.index
    assert tokens(await api.claim(kind, request_id=request_id)) == tokens([second])
