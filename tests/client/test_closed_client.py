"""A closed client says so: whatever is asked of it raises a JobledgerError, and nothing is sent."""

from collections.abc import Callable
from typing import Any

import pytest
from jobledger_client import AsyncJobClient, ClientClosedError, JobClient, JobledgerError

CALLS: list[Callable[[Any], Any]] = [
    lambda client: client.get_job("one"),
    lambda client: client.create_job("k"),
    lambda client: client.complete_chunks(["token"]),
]
STREAMS: list[Callable[[Any], Any]] = [
    lambda client: client.watch("one"),
    lambda client: client.watch_jobs(),
    lambda client: client.export_jobs("csv"),
    lambda client: client.watch_leases(worker="w"),
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
