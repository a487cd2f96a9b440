"""Callers in an overload: foreign ones, that send whatever was refused before, and those of the SDK, that hold back."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final, Self

import grpc
from jobledger.v1.job_service_pb2 import CreateJobRequest, GetJobRequest
from jobledger.v1.job_service_pb2_grpc import JobServiceStub
from jobledger_client import AsyncJobClient, Backoff, JobledgerError

if TYPE_CHECKING:
    Channel = grpc.aio.Channel
else:
    Channel = Any

CONNECTIONS: Final = 4
DEADLINE: Final = 10.0
PROBE_EVERY: Final = 0.05
TICK: Final = 0.002
"""Seconds between two looks at how many calls are due."""
HEALTH: Final = "/grpc.health.v1.Health/Check"
OPTIONS: Final = (("grpc.use_local_subchannel_pool", 1),)  # else all channels share one connection
BACKOFFS: Final = {"foreign": None, "SDK": Backoff(max_requested_wait=timedelta(0)), "waiting SDK": Backoff()}
"""The kinds of callers: those of the SDK give a refused call up at once, or else repeat it until its deadline."""
REFUSED: Final = "RESOURCE_EXHAUSTED"
HELD_BACK: Final = "held back"
"""The end of a call that was never sent."""


@dataclass
class Ended:
    """How the calls of a run ended: seconds of each, by code."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    async def wait_for(self, call: Awaitable[object], name: str = "OK") -> None:
        """Await a call, and note its code, or the name it is given when it is answered."""
        began = time.perf_counter()
        try:
            await call
            code = name
        except grpc.aio.AioRpcError as error:
            code = error.code().name
        except JobledgerError as error:
            code = error.code.name if error.attempts else HELD_BACK
        self.seconds.setdefault(code, []).append(time.perf_counter() - began)

    def count(self, code: str) -> int:
        """Return how many calls ended with a code."""
        return len(self.seconds.get(code, ()))

    @property
    def total(self) -> int:
        """How many calls ended."""
        return sum(map(len, self.seconds.values()))

    def p99(self, *codes: str) -> float | None:
        """Return the milliseconds that 99 of 100 calls with these codes took at most, None without such calls."""
        values = sorted(duration for code in codes for duration in self.seconds.get(code, ()))
        return values[min(len(values) - 1, len(values) * 99 // 100)] * 1e3 if values else None


class Callers:
    """Four connections that create jobs, and one that looks at what others get."""

    def __init__(self, address: str, kind: str, chunks: int) -> None:
        self._address = address
        self._backoff = BACKOFFS[kind]
        self._chunks = chunks
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        channels = [await self._stack.enter_async_context(self._channel()) for _ in range(CONNECTIONS + 1)]
        self._stubs = cycle([JobServiceStub(channel) for channel in channels[:-1]])
        self._bystander = JobServiceStub(channels[-1])
        self._health: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channels[-1].unary_unary(HEALTH)
        self._request = CreateJobRequest(kind="overload", item_count=self._chunks, chunk_size=1)
        self._clients = cycle(
            [
                await self._stack.enter_async_context(
                    AsyncJobClient(
                        self._address, options=OPTIONS, timeout=timedelta(seconds=DEADLINE), backoff=self._backoff
                    )
                )
                for _ in range(CONNECTIONS)
            ]
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _channel(self) -> Channel:
        return grpc.aio.insecure_channel(self._address, OPTIONS)

    def _create(self) -> Awaitable[object]:
        """Create a job, without the SDK."""
        created: Awaitable[object] = next(self._stubs).CreateJob(self._request, timeout=DEADLINE)
        return created

    def _create_as_kind(self) -> Awaitable[object]:
        if self._backoff is None:
            return self._create()
        return next(self._clients).create_job("overload", item_count=self._chunks, chunk_size=1)

    async def capacity(self, in_flight: int, seconds: float) -> float:
        """Return how many jobs a second are created with so many calls in flight."""
        ended, end = Ended(), time.perf_counter() + seconds

        async def go_on() -> None:
            while time.perf_counter() < end:
                await ended.wait_for(self._create())

        await asyncio.gather(*(go_on() for _ in range(in_flight)))
        return ended.count("OK") / seconds

    async def send(self, rate: float, seconds: float) -> tuple[Ended, Ended]:
        """Send calls at a rate, whatever becomes of them; return how those ended by then, and how all did."""
        ended, calls, sent = Ended(), set[asyncio.Task[None]](), 0
        began = time.perf_counter()
        while (now := time.perf_counter() - began) < seconds:
            for _ in range(int(now * rate) - sent):
                calls.add(task := asyncio.create_task(ended.wait_for(self._create_as_kind())))
                task.add_done_callback(calls.discard)
                sent += 1
            await asyncio.sleep(TICK)
        within = Ended({code: each[:] for code, each in ended.seconds.items()})
        await asyncio.gather(*calls)
        return within, ended

    async def look(self, seconds: float) -> Ended:
        """Read a job and ask for the health, again and again."""
        ended, end = Ended(), time.perf_counter() + seconds
        created = await self._bystander.CreateJob(CreateJobRequest(kind="bystander", item_count=1))
        looks: dict[str, Callable[[], Awaitable[object]]] = {
            "GetJob": lambda: self._bystander.GetJob(GetJobRequest(job_id=created.job.job_id), timeout=DEADLINE),
            "health": lambda: self._health(b"", timeout=DEADLINE),
        }
        while time.perf_counter() < end:
            for name, call in looks.items():
                await ended.wait_for(call(), name)
            await asyncio.sleep(PROBE_EVERY)
        return ended
