"""A client that is closed, or of another process, says so by a JobledgerError; many threads may share one."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import grpc
import pytest
from jobledger_client import AsyncJobClient, ClientClosedError, ExportFormat, JobClient, JobledgerError, JobState

from tests.support.bounds import BOUND
from tests.support.server import Server

pytestmark = pytest.mark.one_store("the SDK sees messages, not the store")

CALLS: list[Callable[[Any], Any]] = [
    lambda client: client.get_job("one"),
    lambda client: client.create_job("k"),
    lambda client: client.leases.complete_chunks(["token"]),
]
STREAMS: list[Callable[[Any], Any]] = [
    lambda client: client.watch("one"),
    lambda client: client.watch_jobs(),
    lambda client: client.exports.export_jobs(ExportFormat.CSV),
    lambda client: client.leases.watch_leases(worker="w"),
]


@pytest.mark.parametrize("call", CALLS)
def test_a_call_of_a_closed_client(call: Callable[[JobClient], object]):
    client = JobClient("127.0.0.1:1")
    client.close()
    with pytest.raises(ClientClosedError, match="the client is closed") as caught:
        call(client)
    assert isinstance(caught.value, JobledgerError)


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_of_a_closed_client(stream: Callable[[JobClient], Any]):
    client = JobClient("127.0.0.1:1")
    client.close()
    with pytest.raises(ClientClosedError):
        next(stream(client))


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_of_a_closed_asynchronous_client(call: Callable[[AsyncJobClient], Any]):
    client = AsyncJobClient("127.0.0.1:1")
    await client.close()
    with pytest.raises(ClientClosedError):
        await call(client)


@pytest.mark.parametrize("stream", STREAMS)
async def test_a_stream_of_a_closed_asynchronous_client(stream: Callable[[AsyncJobClient], Any]):
    client = AsyncJobClient("127.0.0.1:1")
    await client.close()
    with pytest.raises(ClientClosedError):
        await anext(stream(client))


def closing_itself() -> JobClient:
    """Return a client that another thread closes between its own check and gRPC's."""

    def close() -> list[tuple[str, str]]:
        client.close()
        return []

    client = JobClient("127.0.0.1:1", metadata=close)
    return client


def on_a_closed_channel() -> JobClient:
    channel = grpc.insecure_channel("127.0.0.1:1")
    client = JobClient(channel=channel)
    channel.close()
    return client


@pytest.mark.parametrize("opened", [closing_itself, on_a_closed_channel])
def test_a_channel_that_is_closed_is_no_error_of_grpcs_own(opened: Callable[[], JobClient]):
    for use in [*CALLS, *(lambda client, stream=stream: next(stream(client)) for stream in STREAMS)]:
        with pytest.raises(ClientClosedError):
            use(opened())


async def test_so_it_is_for_the_asynchronous_client():
    channel = grpc.aio.insecure_channel("127.0.0.1:1")
    await channel.close()
    client = AsyncJobClient(channel=channel)
    for use in [*CALLS, *(lambda client, stream=stream: anext(stream(client)) for stream in STREAMS)]:
        with pytest.raises(ClientClosedError):
            await use(client)


def test_closing_a_synchronous_client_ends_what_is_in_flight_as_an_error_of_its_own(server: Server, kind: str):
    begun = threading.Event()

    def begin() -> list[tuple[str, str]]:
        begun.set()
        return []

    client = JobClient(server.target, metadata=begin)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.leases.claim_chunks, [kind], worker="w", wait=timedelta(seconds=BOUND))
        assert begun.wait(BOUND)
        client.close()
        with pytest.raises(ClientClosedError):
            waiting.result(BOUND)


async def test_closing_an_asynchronous_client_ends_what_is_in_flight_as_an_error_of_its_own(server: Server, kind: str):
    client = AsyncJobClient(server.target)
    job = (await client.create_job(kind)).job
    watch = client.watch(job.job_id)
    await anext(watch)
    waiting = [
        asyncio.create_task(client.leases.claim_chunks([f"{kind}.none"], worker="w", wait=timedelta(seconds=BOUND))),
        asyncio.ensure_future(anext(watch)),
    ]
    await client.get_job(job.job_id)  # both are on their way
    await client.close()
    for task in waiting:
        with pytest.raises(ClientClosedError):
            await task


def test_a_client_that_many_threads_share_gives_each_its_own(server: Server, kind: str):
    def work(number: int) -> None:
        job = client.create_job(f"{kind}.{number}", item_count=1, display_name=f"of {number}").job
        [claimed] = client.leases.claim_chunks([f"{kind}.{number}"], worker=f"w{number}")
        client.leases.complete_chunks([claimed.lease.token])
        last = list(client.watch(job.job_id))[-1].job
        assert (last.job_id, last.display_name) == (job.job_id, f"of {number}")
        assert last.state == JobState.COMPLETED

    with JobClient(server.target) as client, ThreadPoolExecutor(16) as threads:
        list(threads.map(work, range(48)))
