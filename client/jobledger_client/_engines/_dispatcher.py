"""Pushes chunks to an outside engine with a queue of its own: the most urgent first, and again when they get lost."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from math import inf
from random import random
from typing import TypeAlias

import grpc
from jobledger.v1.chunk_pb2 import Chunk
from jobledger.v1.job_pb2 import Job

from jobledger_client._async._client import AsyncJobClient
from jobledger_client._channel import ChannelOptions
from jobledger_client._engines._backlog import Backlog, Pushed
from jobledger_client._engines._callbacks import call
from jobledger_client._engines._server_clock import ServerClock
from jobledger_client._errors import JobNotFoundError
from jobledger_client._metadata import MetadataSource
from jobledger_client._retry import Backoff
from jobledger_client._runnable import Runnable
from jobledger_client._worker._outbox import PASSING

logger = logging.getLogger("jobledger_client.engine")

Push: TypeAlias = Callable[[Job, Chunk], Awaitable[str] | str]
Withdraw: TypeAlias = Callable[[str], object]

_AFTER_DUE = 0.1  # seconds after `not_before`, so that an estimate that is a little ahead is not refused
_LONGEST_REST = 5.0  # seconds: what is due by time alone is looked for this often
_SPACING = 0.05  # seconds between two rounds: a claim of many chunks wakes it once


class Dispatcher(Runnable):
    """Calls `push(job, chunk)` for the pending chunks of `kinds`: it gives the engine a task and answers with its id.

    The engine's task then claims the chunk by its number (EngineRunner, EngineTask). The ledger stays the truth: a
    chunk that nobody has claimed `push_again` after it was pushed is pushed again (then after twice as long, and so
    on), a failed attempt is pushed when it is due, and a task that comes twice is refused its claim. So the engine's
    own queue may lose messages or repeat them, and any number of dispatchers may run.

    At most `ahead` chunks wait in the engine's queue: the rest is still in the ledger, where a new priority reaches it.
    `withdraw` is called with the task ids that nobody needs any more, because their job was cancelled or deleted.
    Both may be `async def` or plain; plain ones are called on a thread. One that raises is called again later, with
    pauses up to 30 s. The rest is as in AsyncJobClient.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:7070",
        *,
        kinds: Iterable[str],
        push: Push,
        withdraw: Withdraw | None = None,
        ahead: int = 100,
        push_again: timedelta = timedelta(seconds=60),
        api_key: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: MetadataSource = None,
        options: ChannelOptions = (),
    ) -> None:
        super().__init__()
        if ahead < 1:
            raise ValueError(f"ahead: {ahead} is not 1 or more")
        self._open_client = partial(
            AsyncJobClient, target, api_key=api_key, credentials=credentials, metadata=metadata, options=options
        )
        self._kinds = tuple(kinds)
        self._push, self._withdraw = push, withdraw
        self._ahead = ahead
        self._backoff = Backoff(initial=0.2, max_wait=30.0)
        self._backlog = Backlog(push_again.total_seconds())
        self._clock = ServerClock()
        self._wake = asyncio.Event()
        self._rest = _LONGEST_REST

    async def serve(self) -> None:
        """Push until `stop`. Raises the JobledgerError of a watch that no waiting cures."""
        self._loop = asyncio.get_running_loop()
        async with self._open_client() as client:
            works = [self._listen(client), self._dispatch(client), self._stopping.wait()]
            tasks = [asyncio.create_task(work) for work in works]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for task in tasks:
                if not task.cancelled() and (error := task.exception()) is not None:
                    raise error

    async def _listen(self, client: AsyncJobClient) -> None:
        """Hear of all jobs; what is there at the beginning is heard of to its end before any of it is pushed."""
        states = ["QUEUED", "RUNNING"]
        async with client.watch_jobs(
            kinds=self._kinds, states=states, mode="EVERY", reconnect_timeout=inf, bookmarks=True
        ) as messages:
            async for message in messages:
                if message.HasField("event"):
                    self._clock.hear(message.event.commit_time.ToNanoseconds() / 1e9)
                for task_id in self._backlog.hear(message):
                    await self._withdraw_one(task_id)
                if message.cursor:
                    self._wake.set()

    async def _dispatch(self, client: AsyncJobClient) -> None:
        failures = 0
        await self._wake.wait()
        while True:
            self._wake.clear()
            self._rest = _LONGEST_REST
            try:
                await self._round(client)
            except Exception as error:  # the engine's queue is away, whatever it calls that, or the service is
                failures += 1
                passing = error if isinstance(error, PASSING) else None
                wait = self._backoff.wait(failures, passing, random)
                logger.warning("could not push chunks, trying again in %.1f s", wait, exc_info=error)
                await asyncio.sleep(wait)
                continue
            failures = 0
            with suppress(TimeoutError):
                async with asyncio.timeout(min(self._rest, self._backlog.next_loss(time.monotonic()))):
                    await self._wake.wait()
            await asyncio.sleep(_SPACING)

    async def _round(self, client: AsyncJobClient) -> None:
        """Push what is due, the most urgent first, until enough waits in the engine's queue."""
        room = self._ahead - self._backlog.waiting(time.monotonic())
        for job in self._backlog.jobs():
            try:
                async for chunk in client.list_chunks(job.job_id, states=["PENDING"], page_size=self._ahead):
                    before = self._backlog.pushed(job.job_id, chunk)
                    if before is None and room <= 0:
                        return
                    if self._is_due(chunk, before):
                        task_id = await self._call_push(job, chunk)
                        self._backlog.note(job.job_id, chunk, task_id, time.monotonic())
                        room -= 1
            except JobNotFoundError:
                self._backlog.forget(job.job_id)

    def _is_due(self, chunk: Chunk, before: Pushed | None) -> bool:
        """Tell whether to push the chunk now; if not, remember when to look again."""
        if before is not None:
            return time.monotonic() >= before.lost_at
        if not chunk.HasField("not_before"):
            return True
        left = chunk.not_before.ToNanoseconds() / 1e9 + _AFTER_DUE - self._clock.now()
        if left > 0:
            self._rest = min(self._rest, left)
        return left <= 0

    async def _call_push(self, job: Job, chunk: Chunk) -> str:
        return str(await call(self._push, job, chunk))

    async def _withdraw_one(self, task_id: str) -> None:
        if self._withdraw is None:
            return
        try:
            await call(self._withdraw, task_id)
        except Exception:
            logger.warning("could not withdraw the task %s; its claim will be refused", task_id, exc_info=True)
