"""The worker: its handlers by kind, and its settings."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from typing import TypeVar, Unpack

from jobledger_client._async._client import AsyncJobClient
from jobledger_client._connection import ConnectionOptions
from jobledger_client._runnable import Runnable
from jobledger_client._sync._client import JobClient
from jobledger_client._values import seconds
from jobledger_client._worker._handlers import Handler, RegisteredHandler, check_handler
from jobledger_client._worker._lease_keeper import checked_interval
from jobledger_client._worker._worker_loop import WorkerLoop, WorkerSettings

logger = logging.getLogger("jobledger_client.worker")

_HOST_LENGTH = 255

AnyHandler = TypeVar("AnyHandler", bound=Handler)


class Worker(Runnable):
    """Claims chunks of the kinds that it has handlers for, works on up to `concurrency` at once, and reports.

    `name` is for people and the audit trail; None means host and process id. `owners` are some of those that the API
    key serves; empty means all of them. `version`, of your code, is shown by list_workers. `lease_duration`, 1 s to 24
    h, is how long a silent worker keeps its chunks. `heartbeat_interval` is how often it extends the leases, at most
    half of `lease_duration`; None means a third. A stream reports cancelled jobs at once; without the stream the next
    heartbeat does. `claim_wait` is how long one claim waits at the server, up to 5 min. `cancel_grace` is how long an
    async handler has after `ctx.cancelled` before it is cancelled, and as long again before a handler that does not
    stop is abandoned. `drain_timeout` is how long handlers have to finish when the worker stops. `handler_timeout` is
    the maximum time of one call of a handler, after which it is stopped and its attempt fails with the code
    HANDLER_TIMEOUT; None means no limit. For the other parameters see AsyncJobClient.

    Heartbeats have a thread and a connection of their own: a handler that blocks loses no lease.

    A worker waits for a server that is unreachable. It serves once.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:7070",
        *,
        concurrency: int = 4,
        name: str | None = None,
        owners: Iterable[str] = (),
        version: str = "",
        lease_duration: timedelta = timedelta(seconds=30),
        heartbeat_interval: timedelta | None = None,
        claim_wait: timedelta = timedelta(seconds=20),
        cancel_grace: timedelta = timedelta(seconds=5),
        drain_timeout: timedelta = timedelta(seconds=10),
        handler_timeout: timedelta | None = None,
        **connection: Unpack[ConnectionOptions],
    ) -> None:
        super().__init__()
        if concurrency < 1:
            raise ValueError(f"concurrency must be 1 or more; got {concurrency}")
        self._settings = WorkerSettings(
            name=name or f"{socket.gethostname()}-{os.getpid()}",
            owners=tuple(owners),
            version=version,
            host=socket.gethostname()[:_HOST_LENGTH],
            concurrency=concurrency,
            lease_duration=lease_duration,
            heartbeat_interval=checked_interval(lease_duration, heartbeat_interval),
            claim_wait=claim_wait,
            cancel_grace_seconds=seconds(cancel_grace),
            drain_timeout_seconds=seconds(drain_timeout),
        )
        self._open_client: Callable[[], AsyncJobClient] = partial(AsyncJobClient, target, **connection)
        self._open_sync_client: Callable[[], JobClient] = partial(JobClient, target, **connection)
        self._handler_timeout = _checked_timeout("handler_timeout", handler_timeout)
        self._handlers: dict[str, RegisteredHandler] = {}

    @property
    def name(self) -> str:
        """The worker's name in leases and the audit trail."""
        return self._settings.name

    def handler(self, kind: str, *, timeout: timedelta | None = None) -> Callable[[AnyHandler], AnyHandler]:
        """Register the decorated function for a kind. It takes a ChunkContext, and may be `async def` or plain.

        A plain function runs on a thread. An awaitable result is awaited. A normal end completes the chunk; any
        exception, SystemExit included, fails the attempt, with the name of the exception's class as the error's code.
        `timeout` None means the worker's `handler_timeout`. Raises ValueError for a kind that has a handler and for a
        timeout of 0 s or less, and TypeError for a generator function.
        """
        limit = self._handler_timeout if timeout is None else _checked_timeout("timeout", timeout)

        def register(handler: AnyHandler) -> AnyHandler:
            if kind in self._handlers:
                raise ValueError(f"kind must have one handler; {kind!r} has one already")
            check_handler(handler)
            self._handlers[kind] = RegisteredHandler(handler, limit)
            return handler

        return register

    async def serve(self) -> None:
        """Serve until `stop`, then drain, then return. A cancelled `serve` drains without waiting for the handlers.

        Raises ValueError without a handler, and the JobledgerError of a claim that is not transient.
        """
        if not self._handlers:
            raise ValueError("a worker must have a handler; register one with @worker.handler(kind)")
        self._loop = asyncio.get_running_loop()
        async with self._open_client() as client:
            logger.info("%s serves %s", self.name, ", ".join(self._handlers))
            await WorkerLoop(client, self._open_sync_client, self._handlers, self._settings).run(self._stopping)
            logger.info("%s has stopped", self.name)


def _checked_timeout(name: str, timeout: timedelta | None) -> timedelta | None:
    if timeout is not None and timeout <= timedelta(0):
        raise ValueError(f"{name} must be more than 0 s; got {timeout.total_seconds():g} s")
    return timeout
