"""Fixtures of the tests of the client."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from datetime import timedelta
from typing import Any

import pytest
from jobledger_client import AsyncJobClient, ChunkContext, EventOrder, JobClient, Worker

from tests.client.controlled import Played
from tests.client.shell import Shell
from tests.support.bounds import CALL_TIMEOUT
from tests.support.server import Server

Serving = Callable[..., AbstractAsyncContextManager[Worker]]


class Waits:
    """A handler that runs until it is stopped."""

    def __init__(self) -> None:
        self.started, self.stopped = asyncio.Event(), asyncio.Event()

    async def __call__(self, ctx: ChunkContext) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped.set()


async def changes(client: AsyncJobClient, job_id: str) -> list[int]:
    return [
        change.type
        async for event in client.list_events(job_id, order=EventOrder.POSITION_ASC)
        for change in event.changes
    ]


@pytest.fixture
def service() -> Played:
    """Return a client with the default settings whose server the test plays."""
    return Played()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncJobClient]:
    """Return an asynchronous client of the shared server."""
    async with AsyncJobClient(server.target, timeout=CALL_TIMEOUT) as one:
        yield one


@pytest.fixture
def sync_client(server: Server) -> Iterator[JobClient]:
    """Return a synchronous client of the shared server."""
    with JobClient(server.target, timeout=CALL_TIMEOUT) as one:
        yield one


@pytest.fixture
def serving(server: Server) -> Serving:
    """Return a context manager in which a worker serves handlers, given as kind=function."""

    @asynccontextmanager
    async def serve(handlers: dict[str, Any], target: str = server.target, **settings: Any) -> AsyncIterator[Worker]:
        worker = Worker(
            target, **{"cancel_grace": timedelta(seconds=0.05), "drain_timeout": timedelta(seconds=5)} | settings
        )
        for kind, handler in handlers.items():
            worker.handler(kind)(handler)
        task = asyncio.create_task(worker.serve())
        try:
            yield worker
        finally:
            worker.stop()
            await task

    return serve


@pytest.fixture
def shell(server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """Return a shell whose command line speaks to the shared server."""
    monkeypatch.setenv("JOBLEDGER_TARGET", server.target)
    with closing(Shell(server.target, capsys)) as commands:
        yield commands
