"""Queues on PostgreSQL that Jobledger is measured against, each as its documentation runs it: jobs that do nothing.

A process of its own for each: `python -m bench.queue_peers pgqueuer CONNECTION`. It does tasks, one line of JSON each.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, Protocol

import asyncpg
import uvloop
from pgqueuer.db import AsyncpgDriver
from pgqueuer.qm import QueueManager
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode
from procrastinate import App, PsycopgConnector

from .processes import cpu_times
from .tasks import Answer, serve

NAME: Final = "work"
AT_ONCE: Final = 1_000
"""Jobs that are sent in one statement."""


class Queue(Protocol):
    """A queue whose jobs are claimed and completed."""

    async def install(self) -> None:
        """Make its tables."""

    async def fill(self, count: int) -> None:
        """Enqueue jobs."""

    async def drain(self, workers: int, batch: int) -> int:
        """Have workers claim and complete all jobs, and return how many there were."""


class PgQueuer:
    """pgqueuer over asyncpg: each worker has a connection of its own, and claims and completes in batches."""

    def __init__(self, connection: str) -> None:
        self._connection = connection

    @asynccontextmanager
    async def _driver(self) -> AsyncIterator[AsyncpgDriver]:
        connection = await asyncpg.connect(self._connection)
        try:
            yield AsyncpgDriver(connection)
        finally:
            await connection.close()

    async def install(self) -> None:
        """Make its tables."""
        async with self._driver() as driver:
            await Queries(driver).install()

    async def fill(self, count: int) -> None:
        """Enqueue jobs with a payload."""
        async with self._driver() as driver:
            queries = Queries(driver)
            for first in range(0, count, AT_ONCE):
                part = min(AT_ONCE, count - first)
                await queries.enqueue([NAME] * part, [b"payload"] * part, [0] * part)

    async def drain(self, workers: int, batch: int) -> int:
        """Run until the queue is empty."""
        done = 0

        async def work(_job: object) -> None:
            nonlocal done
            done += 1

        async with AsyncExitStack() as stack:
            drivers = [await stack.enter_async_context(self._driver()) for _ in range(workers)]
            managers = [QueueManager(Queries(driver)) for driver in drivers]
            for manager in managers:
                manager.entrypoint(NAME)(work)
            await asyncio.gather(
                *(manager.run(batch_size=batch, mode=QueueExecutionMode.drain) for manager in managers)
            )
        return done


class Procrastinate:
    """procrastinate over psycopg: a worker claims and completes one job at a time."""

    def __init__(self, connection: str) -> None:
        self._app = App(connector=PsycopgConnector(conninfo=connection, min_size=1, max_size=16))
        self._done = 0
        self._task = self._app.task(name=NAME)(self._work)

    async def _work(self) -> None:
        self._done += 1

    async def install(self) -> None:
        """Make its tables."""
        async with self._app.open_async():
            await self._app.schema_manager.apply_schema_async()

    async def fill(self, count: int) -> None:
        """Defer jobs."""
        async with self._app.open_async():
            for first in range(0, count, AT_ONCE):
                empty: list[dict[str, Any]] = [{} for _ in range(min(AT_ONCE, count - first))]
                await self._task.batch_defer_async(*empty)

    async def drain(self, workers: int, batch: int) -> int:
        """Run until the queue is empty; each worker has so many jobs at a time, as it has no batches."""
        self._done = 0
        async with self._app.open_async():
            options: dict[str, Any] = {
                "concurrency": batch,
                "wait": False,
                "listen_notify": False,
                "install_signal_handlers": False,
            }
            await asyncio.gather(*(self._app.run_worker_async(**options) for _ in range(workers)))
        return self._done


QUEUES: Final[dict[str, Callable[[str], Queue]]] = {"pgqueuer": PgQueuer, "procrastinate": Procrastinate}


async def measure(queue: Queue, workers: int, batch: int) -> Answer:
    """Drain a queue, and return the jobs, the seconds and the CPU seconds of this process."""
    before, began = cpu_times("self"), time.perf_counter()
    jobs = await queue.drain(workers, batch)
    took = time.perf_counter() - began
    user, kernel = (now - then for now, then in zip(cpu_times("self"), before, strict=True))
    return {"jobs": jobs, "seconds": took, "user": user, "kernel": kernel}


async def main(name: str, connection: str) -> None:
    """Do what standard input asks for, until it ends."""
    queue = QUEUES[name](connection)
    await queue.install()

    async def fill(count: int) -> Answer:
        await queue.fill(count)
        return {}

    async def drain(workers: int, batch: int) -> Answer:
        return await measure(queue, workers, batch)

    await serve({"fill": fill, "drain": drain})


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
