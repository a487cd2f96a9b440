"""A token that was forged, changed or guessed names nothing, reaches no batch, and costs nobody else a call."""

import asyncio
import base64
import struct
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest
from jobledger.v1.filter_pb2 import JobFilter
from jobledger.v1.job_service_pb2 import ListChunksRequest, ListEventsRequest, ListJobsRequest
from jobledger.v1.worker_service_pb2 import (
    ChunkRelease,
    CompleteChunksRequest,
    HeartbeatRequest,
    LeaseReport,
    ReleaseChunksRequest,
)

from tests.support.errors import refused
from tests.support.keys import KeyedApi
from tests.support.states import COMPLETED, LEASE_LOST, OK
from tests.support.tenants import Shared, shared_server

MAC_BYTES = 16
HEADER = struct.Struct(">16sII")
FORGERS, ROUNDS, CALLS = 4, 12, 60


@pytest.fixture(scope="module")
def shared(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    with shared_server(store, tmp_path_factory.mktemp("tokens")) as opened:
        yield opened


@pytest.fixture
async def hostile(shared: Shared) -> AsyncIterator[KeyedApi]:
    async with shared.tenant("mallory") as api:
        yield api


@pytest.fixture
async def bystander(shared: Shared) -> AsyncIterator[KeyedApi]:
    async with shared.tenant("bob") as api:
        yield api


def raw(token: str) -> bytes:
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def forged(token: str, *, key: str = "", index: int = 0, fence: int = 0, uid: bytes = b"") -> str:
    """Return a token that says something else under the authentication of a real one."""
    mac, content = raw(token)[:MAC_BYTES], raw(token)[MAC_BYTES:]
    was_uid, was_index, was_fence = HEADER.unpack_from(content)
    header = HEADER.pack(uid or was_uid, index or was_index, fence or was_fence)
    return encoded(mac + header + (key.encode() or content[HEADER.size :]))


def forgeries(token: str) -> list[str]:
    """Return tokens whose content no database takes, and some that would name a lease if they were believed."""
    return [
        forged(token, key="mallory/x\0"),
        forged(token, key="bob/x"),
        forged(token, index=2**31),
        forged(token, index=2**32 - 1),
        forged(token, fence=2**32 - 1),
        forged(token, uid=b"\xff" * 16),
        encoded(bytes(100)),
    ]


async def heartbeat(api: KeyedApi, *tokens: str) -> list[int]:
    request = HeartbeatRequest(reports=[LeaseReport(lease_token=token) for token in tokens])
    return [result.status for result in (await api.work.Heartbeat(request)).results]


async def test_a_forged_lease_token_is_a_lost_lease_and_harms_none_beside_it(hostile: KeyedApi, kind: str):
    await hostile.create(kind)
    [claimed] = await hostile.claim(kind)
    token = claimed.lease.token
    false = forgeries(token)
    assert await heartbeat(hostile, *false, token) == [LEASE_LOST] * len(false) + [OK]
    releases = [ChunkRelease(lease_token=one) for one in false]
    ended = await hostile.work.ReleaseChunks(ReleaseChunksRequest(releases=releases))
    assert {result.status for result in ended.results} == {LEASE_LOST}
    assert (await hostile.complete(claimed))[0].status == OK


@pytest.mark.guarantee("3b.8")
async def test_a_worker_cannot_guess_the_lease_of_another_of_its_owner(hostile: KeyedApi, kind: str):
    job = await hostile.create(kind, item_count=2, chunk_size=1)
    mine, theirs = await hostile.claim(kind, 2)
    guessed = forged(mine.lease.token, index=theirs.chunk.index)
    assert raw(guessed)[MAC_BYTES:] == raw(theirs.lease.token)[MAC_BYTES:]  # but for who made it
    request = CompleteChunksRequest(completions=[{"lease_token": guessed}])
    assert (await hostile.work.CompleteChunks(request)).results[0].status == LEASE_LOST
    assert (await hostile.get(job.job_id)).chunks_summary.processing == 2
    assert {result.status for result in await hostile.complete(mine, theirs)} == {OK}


@pytest.mark.guarantee("3b.1")
async def test_forged_tokens_fail_no_call_of_anybody_else(hostile: KeyedApi, bystander: KeyedApi, kind: str):
    await hostile.create(kind)
    [claimed] = await hostile.claim(kind)
    false = forgeries(claimed.lease.token)

    async def forge() -> set[int]:
        return {status for _ in range(ROUNDS) for status in await heartbeat(hostile, *false)}

    async def work() -> list[int]:
        ended = []
        for _ in range(CALLS // 4):
            job = await bystander.create(kind)
            ended += await bystander.complete(*await bystander.claim(kind))
            assert (await bystander.get(job.job_id)).state == COMPLETED
        return [result.status for result in ended]

    *reported, done = await asyncio.gather(*(forge() for _ in range(FORGERS)), work())
    assert reported == [{LEASE_LOST}] * FORGERS
    assert done == [OK] * (CALLS // 4)


async def test_a_page_token_that_was_made_elsewhere_is_refused(hostile: KeyedApi, bystander: KeyedApi, kind: str):
    job = await hostile.create(kind, item_count=3, chunk_size=1)
    mine = await bystander.create(kind)
    chunks = ListChunksRequest(job_id=job.job_id, page_size=1)
    token = (await hostile.jobs.ListChunks(chunks)).next_page_token
    mac, content = raw(token)[:MAC_BYTES], raw(token)[MAC_BYTES:]
    assert content.count(b",0,") == 1, "the index"
    deep = b"[" * 100_000
    for page_token in (
        encoded(mac + content.replace(b",0,", b",1099511627776,")),
        encoded(mac + deep[:2_000]),
        encoded(mac + deep),
        encoded(bytes(16) + content),
        token[:-1],
        token + "A",
        "[" * 1_000,
        "\x00",
    ):
        for call, request in (
            (hostile.jobs.ListChunks, ListChunksRequest(job_id=job.job_id, page_size=1, page_token=page_token)),
            (hostile.jobs.ListJobs, ListJobsRequest(filter=JobFilter(kinds=[kind]), page_token=page_token)),
            (hostile.jobs.ListEvents, ListEventsRequest(job_id=job.job_id, page_token=page_token)),
        ):
            with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
                await call(request)
        assert (await bystander.get(mine.job_id)).revision == 1
    chunks.page_token = token
    assert (await hostile.jobs.ListChunks(chunks)).chunks[0].index == 1
