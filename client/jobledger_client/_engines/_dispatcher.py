"""Pushes chunks to an external engine with a queue of its own: the most urgent first, and again when they get lost."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from random import random
from typing import TypeAlias, Unpack

from jobledger.v1.chunk_pb2 import Chunk
from jobledger.v1.job_pb2 import Job

from jobledger_client._async._client import AsyncJobClient
from jobledger_client._connection import ConnectionOptions
from jobledger_client._engines._backlog import Backlog, Pushed
from jobledger_client._engines._callbacks import call
from jobledger_client._engines._server_clock import ServerClock
from jobledger_client._error_groups import JobledgerError
from jobledger_client._generated._enums import ChunkState, HoldReason, JobState, WatchMode
from jobledger_client._generated._errors import JobNotFoundError
from jobledger_client._retry import Backoff
from jobledger_client._runnable import Runnable
from jobledger_client._worker._transient import is_transient

logger = logging.getLogger("jobledger_client.engine")

Push: TypeAlias = Callable[[Job, Chunk], Awaitable[str] | str]
Withdraw: TypeAlias = Callable[[str], object]

_DUE_MARGIN_SECONDS = 0.1  # after `next_attempt_time`, as the estimated clock may be a little fast
_MAX_IDLE_SECONDS = 5.0  # between two rounds, for chunks that become due by time alone
_ROUND_SECONDS = 0.05  # between two rounds: a claim of many chunks causes one


class Dispatcher(Runnable):
    """Calls `push(job, chunk)` for the pending chunks of `kinds`: it creates a task of the engine and returns its id.

    The engine's task then claims the chunk by its index (EngineRunner, EngineTask). The ledger stays the truth: a chunk
    that no task has claimed `push_timeout` after its push is pushed again (then after twice as long, and so on), a
    failed attempt is pushed when it is due, and the claim of a repeated task is refused. So the engine's own queue may
    lose or repeat messages, and any number of dispatchers may run.

    At most `max_queued` chunks wait in the engine's queue; the others wait in the ledger, where a new priority reaches
    them. `withdraw` is called with the ids of tasks that are no longer needed, because their job was cancelled or
    deleted. Both may be `async def` or plain; plain ones run on a thread. A `push` that raises is repeated, with pauses
    up to 30 s. For the other parameters see AsyncJobClient.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:7070",
        *,
        kinds: Iterable[str],
        push: Push,
        withdraw: Withdraw | None = None,
        max_queued: int = 100,
        push_timeout: timedelta = timedelta(seconds=60),
        **connection: Unpack[ConnectionOptions],
    ) -> None:
        super().__init__()
        if max_queued < 1:
            raise ValueError(f"max_queued must be 1 or more; got {max_queued}")
        self._open_client = partial(AsyncJobClient, target, **connection)
        self._kinds = tuple(kinds)
        self._push, self._withdraw = push, withdraw
        self._max_queued = max_queued
        self._backoff = Backoff(initial=timedelta(milliseconds=200), max_wait=timedelta(seconds=30))
        self._backlog = Backlog(push_timeout.total_seconds())
        self._clock = ServerClock()
        self._wake = asyncio.Event()
        self._idle_seconds = _MAX_IDLE_SECONDS

    async def serve(self) -> None:
        """Push until `stop`. Raises the JobledgerError of a watch that is not transient."""
        self._loop = asyncio.get_running_loop()
        async with self._open_client() as client:
            await self._run_until_stopped(self._watch(client), self._dispatch(client))

    async def _watch(self, client: AsyncJobClient) -> None:
        """Follow all jobs. The first push waits for the end of the snapshots."""
        states = [JobState.QUEUED, JobState.RUNNING]
        async with client.watch_jobs(
            kinds=self._kinds, states=states, mode=WatchMode.EVERY, reconnect_timeout=None, bookmarks=True
        ) as messages:
            async for message in messages:
                if message.HasField("event"):
                    self._clock.observe(message.event.commit_time.ToNanoseconds() / 1e9)
                for task_id in self._backlog.apply(message):
                    await self._withdraw_one(task_id)
                if message.cursor:
                    self._wake.set()

    async def _dispatch(self, client: AsyncJobClient) -> None:
        failures = 0
        await self._wake.wait()
        while True:
            self._wake.clear()
            self._idle_seconds = _MAX_IDLE_SECONDS
            try:
                await self._push_due(client)
            except Exception as error:  # any error of the engine's queue, or an error of the service
                failures += 1
                transient = error if isinstance(error, JobledgerError) and is_transient(error) else None
                wait = self._backoff.wait(failures, transient, random)
                logger.warning("could not push chunks; next attempt in %.1f s", wait, exc_info=error)
                await asyncio.sleep(wait)
                continue
            failures = 0
            with suppress(TimeoutError):
                async with asyncio.timeout(min(self._idle_seconds, self._backlog.seconds_until_loss(time.monotonic()))):
                    await self._wake.wait()
            await asyncio.sleep(_ROUND_SECONDS)

    async def _push_due(self, client: AsyncJobClient) -> None:
        """Push the chunks that are due, the most urgent first, until `max_queued` wait in the engine's queue."""
        free = self._max_queued - self._backlog.count_unclaimed(time.monotonic())
        for job in self._backlog.jobs():
            try:
                async for chunk in client.list_chunks(
                    job.job_id, states=[ChunkState.PENDING], page_size=self._max_queued, uid=job.uid
                ):
                    if chunk.finalizer:
                        self._backlog.add_finalizer(job.job_id)
                    previous = self._backlog.pushed(job.job_id, chunk)
                    if previous is None and free <= 0:
                        return
                    if self._is_due(chunk, previous):
                        task_id = str(await call(self._push, job, chunk))
                        self._backlog.add_pushed(job.job_id, chunk, task_id, time.monotonic())
                        free -= 1
            except JobNotFoundError:
                self._backlog.remove(job)

    def _is_due(self, chunk: Chunk, previous: Pushed | None) -> bool:
        """Return whether to push the chunk now; if not, shorten the idle time until it is due."""
        if previous is not None:
            return time.monotonic() >= previous.lost_at
        if HoldReason.FINALIZER in chunk.holds:
            return False
        if not chunk.HasField("next_attempt_time"):
            return True
        seconds = chunk.next_attempt_time.ToNanoseconds() / 1e9 + _DUE_MARGIN_SECONDS - self._clock.now()
        if seconds > 0:
            self._idle_seconds = min(self._idle_seconds, seconds)
        return seconds <= 0

    async def _withdraw_one(self, task_id: str) -> None:
        if self._withdraw is None:
            return
        try:
            await call(self._withdraw, task_id)
        except Exception:
            logger.warning("could not withdraw the task %s; its claim will be refused", task_id, exc_info=True)
