"""A worker whose answers are lost on their way: it repeats its claims, gets the same leases, and no attempt is lost."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import grpc
import pytest
from jobledger_client import AsyncJobClient, ChunkContext, JobView

from tests.client.conftest import Serving
from tests.support.bounds import BOUND
from tests.support.server import Server

pytestmark = pytest.mark.one_store("the SDK sees messages, not the store")


class Losing(grpc.GenericRpcHandler):
    """Forwards unary calls, and loses the first answer of each method that is to lose one."""

    def __init__(self, target: str, *lost: str) -> None:
        self._channel = grpc.aio.insecure_channel(target)
        self._lost = set(lost)
        self.calls = Counter[str]()

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        method = details.method
        forward = self._channel.unary_unary(method)
        name = method.rpartition("/")[2]

        async def answer(request: bytes, context: Any) -> bytes:
            response: bytes = await forward(request, timeout=context.time_remaining())
            self.calls[name] += 1
            if name in self._lost:
                self._lost.discard(name)
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the answer is lost")
            return response

        return None if name == "WatchLeases" else grpc.unary_unary_rpc_method_handler(answer)

    async def close(self) -> None:
        await self._channel.close()


@pytest.fixture
async def losing(server: Server) -> AsyncIterator[Callable[..., Any]]:
    opened: list[tuple[Losing, grpc.aio.Server]] = []

    async def begin(*lost: str) -> tuple[Losing, str]:
        between, port = Losing(server.target, *lost), grpc.aio.server()
        port.add_generic_rpc_handlers((between,))
        number = port.add_insecure_port("127.0.0.1:0")
        await port.start()
        opened.append((between, port))
        return between, f"127.0.0.1:{number}"

    yield begin
    for between, port in opened:
        await port.stop(None)
        await between.close()


def attempts(job: Any) -> Iterator[int]:
    return (chunk.attempt for chunk in job.chunks)


@pytest.mark.guarantee("3c.7")
async def test_lost_answers_of_claims_and_completions_cost_no_attempt(
    losing: Callable[..., Any], client: AsyncJobClient, serving: Serving, kind: str
):
    between, target = await losing("ClaimChunks", "CompleteChunks")
    worked: list[int] = []

    async def work(ctx: ChunkContext) -> None:
        worked.append(ctx.chunk.index)

    job = (await client.create_job(kind, item_count=4, chunk_size=1)).job
    async with (
        serving({kind: work}, target, concurrency=2, lease_duration=timedelta(minutes=10)),
        asyncio.timeout(BOUND),
    ):
        ended = await client.wait(job.job_id)
    assert sorted(worked) == [0, 1, 2, 3]
    shown = await client.get_job(job.job_id, view=JobView.FULL)
    assert [*attempts(shown)] == [1, 1, 1, 1]
    assert ended.job_id == job.job_id
    assert between.calls["ClaimChunks"] >= 2
    assert between.calls["CompleteChunks"] >= 2
