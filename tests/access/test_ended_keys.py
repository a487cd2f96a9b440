"""What is open when its key ends: watches and waiting claims end too, on every replica, within a second."""

import asyncio
import time
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import grpc
import pytest
from jobledger.v1.admin_service_pb2 import RevokeApiKeyRequest
from jobledger_client import ApiKeyRevokedError, AsyncJobClient, RoleMissingError, UnauthenticatedError, Worker
from jobledger_service.features.access.keyring import REFRESH_SECONDS

from tests.access.conftest import As, Keyed
from tests.access.test_keys import later
from tests.support.bounds import BOUND, CALL_TIMEOUT
from tests.support.errors import read
from tests.support.keys import CALLER, WORKER, KeyedApi
from tests.support.lives import FAT
from tests.support.watching import BOOKMARK, Watch


async def until_refused(watch: Watch[Any]) -> str:
    """Read a watch until it is refused; return the reason."""

    async def read_on() -> None:
        while True:
            await watch.message()

    return await refusal_of(read_on())


async def refusal_of(call: Awaitable[Any]) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
    return read(caught.value).reason


async def test_what_is_open_ends_when_its_key_is_revoked(keyed: Keyed, admin: KeyedApi, as_holder: As, kind: str):
    made = await admin.make(CALLER, WORKER)
    apis = [as_holder(server, made.token) for server in keyed.replicas]
    job = await apis[0].create(f"{kind}.other")
    watches: list[Watch[Any]] = [watch for api in apis for watch in (api.watch_job(job.job_id), api.watch_jobs(kind))]
    for watch in watches:
        await watch.message()
    claims = [asyncio.create_task(api.claim(kind, wait=timedelta(minutes=5))) for api in apis]
    bystander = as_holder(keyed.replicas[-1], (await admin.make(CALLER)).token).watch_jobs(kind)
    await bystander.message()
    await admin.admin.RevokeApiKey(RevokeApiKeyRequest(key_id=made.api_key.key_id))
    async with asyncio.timeout(BOUND):
        reasons = await asyncio.gather(*map(until_refused, watches), *map(refusal_of, claims))
    assert set(reasons) == {"API_KEY_REVOKED"}
    assert (await bystander.message()).type == BOOKMARK
    bystander.call.cancel()


def test_every_server_looks_for_keys_that_ended_often_enough_for_a_second():
    assert REFRESH_SECONDS < 0.5


async def test_what_is_open_ends_when_its_key_expires(keyed: Keyed, admin: KeyedApi, as_holder: As, kind: str):
    for seconds in (1.2, 10, 60):  # the first is too short for a machine that stalls just then
        made = await admin.make(CALLER, expire_time=later(seconds))
        watch = as_holder(keyed.replicas[-1], made.token).watch_jobs(kind)
        async with asyncio.timeout(BOUND):
            assert await until_refused(watch) == "API_KEY_EXPIRED"
        assert time.time() >= made.api_key.expire_time.ToNanoseconds() / 1e9
        if watch.cursor:
            break
    assert watch.cursor, "it was open before"


async def test_a_watcher_that_does_not_read_learns_of_the_end_when_it_does(
    keyed: Keyed, admin: KeyedApi, as_holder: As, kind: str
):
    made = await admin.make(CALLER)
    api = as_holder(keyed.replicas[0], made.token)
    for _ in range(20):
        await api.create(kind, labels=FAT)
    watch = api.watch_jobs(kind)
    await watch.message()
    await admin.admin.RevokeApiKey(RevokeApiKeyRequest(key_id=made.api_key.key_id))
    assert await until_refused(watch) == "API_KEY_REVOKED"


async def test_the_sdk_ends_a_watch_and_a_worker_with_the_reason(keyed: Keyed, admin: KeyedApi, kind: str):
    made = await admin.make(CALLER)
    async with AsyncJobClient(keyed.replicas[-1].target, api_key=made.token, timeout=CALL_TIMEOUT) as client:
        watch = client.watch_jobs(kinds=[kind], bookmarks=True)
        await anext(watch)
        worker = Worker(keyed.replicas[0].target, api_key=made.token)
        worker.handler(kind)(print)
        with pytest.raises(RoleMissingError) as denied:
            await worker.serve()
        assert denied.value.metadata == {"method": "ClaimChunks", "role": "WORKER"}
        await admin.admin.RevokeApiKey(RevokeApiKeyRequest(key_id=made.api_key.key_id))
        with pytest.raises(ApiKeyRevokedError):
            async for _ in watch:
                pass
        with pytest.raises(UnauthenticatedError):
            await client.create_job(kind)
