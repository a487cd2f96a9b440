"""The worker: handlers by kind, and the settings that it serves them with."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import grpc

from jobledger_client._async._client import AsyncJobClient
from jobledger_client._channel import ChannelOptions
from jobledger_client._metadata import MetadataSource
from jobledger_client._runnable import Runnable
from jobledger_client._sync._client import JobClient
from jobledger_client._worker._handlers import Handler, Registered, check_handler
from jobledger_client._worker._lease_keeper import checked_interval
from jobledger_client._worker._serving import Serving, Settings

logger = logging.getLogger("jobledger_client.worker")

AnyHandler = TypeVar("AnyHandler", bound=Handler)


class Worker(Runnable):
    """Claims chunks of the kinds that it has handlers for, works on up to `concurrency` at once, and reports.

    `name` is for people and the audit trail, host and process id when None. `lease_duration` is 1 s to 24 h: how long a
    silent worker keeps its chunks. `heartbeat_interval` is how often it extends them, a third of that when None. A
    cancelled job is told at once, by a stream; by the next heartbeat where that is not to be had. `claim_wait` is how
    long one claim waits at the server, up to 5 min. `cancel_grace` is how many seconds an async handler has after
    `ctx.cancelled` before it is cancelled, and as many again until a handler that does not stop is left behind.
    `drain_timeout` is how many seconds handlers have to finish when the worker is to stop. `handler_timeout` is how
    long one call of a handler may take before it is stopped, and its attempt fails with the code HANDLER_TIMEOUT; None:
    as long as it takes. The rest is as in AsyncJobClient.

    Heartbeats have a thread and a connection of their own: a handler that blocks loses no lease.

    A server that is away is waited for. A worker serves once.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:7070",
        *,
        concurrency: int = 4,
        name: str | None = None,
        lease_duration: timedelta = timedelta(seconds=30),
        heartbeat_interval: timedelta | None = None,
        claim_wait: timedelta = timedelta(seconds=20),
        cancel_grace: float = 5.0,
        drain_timeout: float = 10.0,
        handler_timeout: timedelta | None = None,
        api_key: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: MetadataSource = None,
        options: ChannelOptions = (),
    ) -> None:
        super().__init__()
        if concurrency < 1:
            raise ValueError(f"concurrency must be 1 or more; got {concurrency}")
        self._settings = Settings(
            name=name or f"{socket.gethostname()}-{os.getpid()}",
            concurrency=concurrency,
            lease_duration=lease_duration,
            heartbeat_interval=checked_interval(lease_duration, heartbeat_interval),
            claim_wait=claim_wait,
            cancel_grace=cancel_grace,
            drain_timeout=drain_timeout,
        )
        how: dict[str, Any] = {"api_key": api_key, "credentials": credentials, "metadata": metadata, "options": options}
        self._open_client: Callable[[], AsyncJobClient] = partial(AsyncJobClient, target, **how)
        self._open_sync_client: Callable[[], JobClient] = partial(JobClient, target, **how)
        self._handler_timeout = _checked_timeout("handler_timeout", handler_timeout)
        self._handlers: dict[str, Registered] = {}

    @property
    def name(self) -> str:
        """The worker's name, as others see it."""
        return self._settings.name

    def handler(self, kind: str, *, timeout: timedelta | None = None) -> Callable[[AnyHandler], AnyHandler]:
        """Register the decorated function for a kind. It takes a ChunkContext, and may be `async def` or plain.

        A plain one is called on a thread. What a handler returns that is awaitable is awaited. Its normal end completes
        the chunk; raising anything, SystemExit included, fails the attempt, with the name of the exception's class as
        the error's code. `timeout` is the worker's `handler_timeout` when None. Raises ValueError for a kind that has a
        handler and for a timeout of 0 s or less, and TypeError for a generator function.
        """
        seconds = self._handler_timeout if timeout is None else _checked_timeout("timeout", timeout)

        def register(handler: AnyHandler) -> AnyHandler:
            if kind in self._handlers:
                raise ValueError(f"kind: {kind!r} has a handler already")
            check_handler(handler)
            self._handlers[kind] = Registered(handler, seconds)
            return handler

        return register

    async def serve(self) -> None:
        """Serve until `stop`, then drain, then return. Cancelling it drains without waiting for the handlers.

        Raises ValueError when there is no handler, and the JobledgerError of a claim that no waiting cures.
        """
        if not self._handlers:
            raise ValueError("the worker has no handlers; register one with @worker.handler(kind)")
        self._loop = asyncio.get_running_loop()
        async with self._open_client() as client:
            logger.info("%s serves %s", self.name, ", ".join(self._handlers))
            await Serving(client, self._open_sync_client, self._handlers, self._settings).run(self._stopping)
            logger.info("%s has stopped", self.name)


def _checked_timeout(name: str, timeout: timedelta | None) -> float | None:
    if timeout is None:
        return None
    if timeout <= timedelta(0):
        raise ValueError(f"{name} must be more than 0 s; got {timeout.total_seconds():g} s")
    return timeout.total_seconds()
