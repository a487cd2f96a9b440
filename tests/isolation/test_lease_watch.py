"""WatchLeases: a worker hears as it happens of the jobs whose leases are to stop, and of no others."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import pytest
from jobledger.v1.worker_service_pb2 import WatchLeasesRequest, WatchLeasesResponse

from tests.conftest import StartServer
from tests.isolation.conftest import Tenants
from tests.support.api import Api
from tests.support.bounds import within
from tests.support.errors import read, refused
from tests.support.server import Server

QUIET = WatchLeasesResponse()
INVALID = grpc.StatusCode.INVALID_ARGUMENT


class LeaseStream:
    """One stream, and the jobs that it named."""

    def __init__(self, api: Api, *kinds: str) -> None:
        self.call = api.work.WatchLeases(WatchLeasesRequest(worker="worker-1", kinds=kinds))

    async def message(self) -> WatchLeasesResponse:
        """Return the next message."""
        return await within(self.call.read())

    async def jobs(self) -> list[str]:
        """Return the jobs that the next message names, which is not a quiet one."""
        while (message := await self.message()) == QUIET:
            continue
        assert not message.check_all
        return list(message.job_ids)

    async def end(self) -> str:
        """Read on to the end, past quiet messages; return its reason."""
        try:
            while (message := await self.message()) == QUIET:
                continue
        except grpc.aio.AioRpcError as error:
            return read(error).reason
        raise AssertionError(f"the stream goes on: {message}")


@asynccontextmanager
async def watching(api: Api, *kinds: str) -> AsyncIterator[LeaseStream]:
    """Open a stream that is live."""
    stream = LeaseStream(api, *kinds)
    try:
        assert await stream.message() == WatchLeasesResponse(check_all=True)
        yield stream
    finally:
        stream.call.cancel()


async def running(api: Api, kind: str, **fields: object) -> str:
    """Create a job, and claim a chunk of it."""
    job = await api.create(kind, **fields)
    assert len(await api.claim(kind)) == 1
    return job.job_id


async def test_jobs_that_are_to_stop_are_reported_and_others_are_not(api: Api, kind: str):
    async with watching(api, kind) as stream:
        queued = await api.create(kind)
        await api.cancel(queued.job_id)  # nobody works on it
        other = await running(api, f"{kind}.other")
        await api.cancel(other)
        completed = await api.create(kind)
        await api.complete(*await api.claim(kind))
        assert (await api.get(completed.job_id)).revision == 3

        requested = await running(api, kind)
        await api.cancel(requested)
        assert await stream.jobs() == [requested]
        forced = await running(api, kind)
        await api.cancel(forced, force=True)
        assert await stream.jobs() == [forced]
        deleted = await running(api, kind)
        await api.delete(deleted, force=True)
        assert await stream.jobs() == [deleted]


async def test_a_job_that_fails_at_once_is_reported(api: Api, kind: str):
    async with watching(api) as stream:
        job = await api.create(kind, chunks=[{}, {}], failure_policy="FAILURE_POLICY_FAIL_FAST")
        first, _ = await api.claim(kind, 2)
        await api.fail(first, not_retryable=True)
        while job.job_id not in await stream.jobs():  # the stream is of all kinds, and others test beside
            continue


async def test_a_stop_at_one_replica_is_reported_at_every_other(
    replicas: list[Server], connect: Callable[[Server], Api], kind: str
):
    apis = [connect(server) for server in replicas]
    async with watching(apis[0], kind) as first, watching(apis[-1], kind) as last:
        for api in apis:
            job_id = await running(api, kind)
            await api.cancel(job_id)
            assert (await first.jobs(), await last.jobs()) == ([job_id], [job_id])


async def test_a_quiet_stream_reports_that_it_lives(api: Api, kind: str):
    async with watching(api, kind) as stream:
        assert await stream.message() == QUIET


@pytest.mark.guarantee("3b.8")
async def test_another_owners_stops_are_not_reported_and_wake_no_stream(tenants: Tenants, kind: str):
    alice, bob = await tenants.api("alice"), await tenants.api("bob")
    async with watching(alice) as all_of_alice, watching(alice, kind) as kind_of_alice, watching(bob, kind) as of_bob:
        before = tenants.scrape().value("jobledger_watch_wakeups_total")
        bobs = [await running(bob, kind) for _ in range(5)]
        for job_id in bobs:
            await bob.cancel(job_id)
            assert await of_bob.jobs() == [job_id]
        assert tenants.scrape().value("jobledger_watch_wakeups_total") - before == len(bobs)
        alices = await running(alice, kind)
        await alice.cancel(alices)
        assert await all_of_alice.jobs() == await kind_of_alice.jobs() == [alices]


async def test_chunks_in_work_and_their_reports_wake_no_stream(tenants: Tenants, kind: str):
    alice, bob = await tenants.api("alice"), await tenants.api("bob")
    async with watching(alice, kind) as stream, watching(bob, kind):
        before = tenants.scrape().value("jobledger_watch_wakeups_total")
        job = await alice.create(kind, chunks=[{}] * 50)
        claimed = await alice.claim(kind, 50)
        for one in claimed[:10]:
            await alice.report(one, percent=50.0)
        await alice.complete(*claimed[:49])
        assert tenants.scrape().value("jobledger_watch_wakeups_total") == before
        await alice.cancel(job.job_id)
        assert await stream.jobs() == [job.job_id]
        assert tenants.scrape().value("jobledger_watch_wakeups_total") - before == 1


async def test_a_stream_ends_with_its_key_and_others_continue(tenants: Tenants, kind: str):
    alice, bob = await tenants.api("alice"), await tenants.api("bob")
    async with watching(alice, kind) as stream, watching(bob, kind) as other:
        await tenants.revoke(alice)
        assert await stream.end() == "API_KEY_REVOKED"
        assert await other.message() == QUIET


@pytest.mark.long
async def test_a_draining_server_ends_the_stream(
    start_server: StartServer, connect: Callable[[Server], Api], kind: str
):
    server = start_server()
    async with watching(connect(server), kind) as stream:
        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        assert await stream.end() == "DRAINING"
        assert await stopping == 0


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"worker": ""}, "worker"), ({"kinds": ["no kind!"]}, "kinds[0]"), ({"kinds": ["k"] * 101}, "kinds")],
)
async def test_what_breaks_a_rule_is_named(api: Api, fields: dict[str, object], named: str):
    with refused(INVALID, "INVALID_FIELD", named):
        await api.work.WatchLeases(WatchLeasesRequest(**({"worker": "w"} | fields))).read()
