"""The loop of a worker: it claims chunks and starts attempts until it stops, then drains."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import random
from typing import Any, NoReturn
from uuid import uuid4

from jobledger.v1.worker_service_pb2 import ChunkRelease, ClaimChunksRequest, ClaimedChunk

from jobledger_client._async._client import AsyncJobClient
from jobledger_client._retry import Backoff
from jobledger_client._sync._client import JobClient
from jobledger_client._values import duration
from jobledger_client._worker._attempt import Attempt
from jobledger_client._worker._context import StopReason
from jobledger_client._worker._handler_tasks import HandlerTaskFactory, HandlerTasks
from jobledger_client._worker._handlers import RegisteredHandler
from jobledger_client._worker._lease_keeper import LeaseKeeper
from jobledger_client._worker._loop_monitor import LoopMonitor
from jobledger_client._worker._reports import Reports
from jobledger_client._worker._transient import repeat_transient

logger = logging.getLogger("jobledger_client.worker")

_MAX_CLAIM_CHUNKS = 1_000
_LAST_REPORTS_SECONDS = 5.0  # for the last reports to reach the service


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The settings of a worker; see Worker."""

    name: str
    owners: tuple[str, ...]
    version: str
    host: str
    concurrency: int
    lease_duration: timedelta
    heartbeat_interval: timedelta
    claim_wait: timedelta
    cancel_grace_seconds: float
    drain_timeout_seconds: float


class WorkerLoop:
    """Owns every task of a worker: it logs the end of each, and has awaited all when `run` returns."""

    def __init__(
        self,
        client: AsyncJobClient,
        open_sync_client: Callable[[], JobClient],
        handlers: Mapping[str, RegisteredHandler],
        settings: WorkerSettings,
    ) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._handlers = handlers
        self._settings = settings
        self._backoff = Backoff(initial=timedelta(milliseconds=200))
        self._keeper = LeaseKeeper(
            open_sync_client,
            settings.lease_duration,
            settings.heartbeat_interval,
            LoopMonitor(self._loop, self._find_handler),
            worker=settings.name,
            kinds=list(handlers),
        )
        self._reports = Reports(client, self._backoff, settings.lease_duration, next_chunks=self)
        self._claim_id = str(uuid4())  # of the claim that has no answer yet: repeated, it gets the same leases
        self._draining = False
        self._unwanted: set[asyncio.Task[Any]] = set()
        self._abandoned: set[asyncio.Future[Any]] = set()
        self._leaking_kinds: set[str] = set()
        self._attempts: dict[asyncio.Task[None], Attempt] = {}
        self._slot_freed = asyncio.Event()

    async def run(self, stopping: asyncio.Event) -> None:
        """Serve until `stopping`, or until a task fails for good; drain; raise the error of that task."""
        self._keeper.start()
        try:
            with HandlerTaskFactory(self._loop):
                await self._serve(stopping)
        finally:
            await self._keeper.close()

    async def _serve(self, stopping: asyncio.Event) -> None:
        background = [self._start(name, sending) for name, sending in self._reports.runs().items()]
        claims = self._start("claims", self._claim())
        stop = self._start("stop", stopping.wait())
        drain_seconds = 0.0  # of a cancellation from outside
        try:
            await asyncio.wait({stop, claims, *background}, return_when=asyncio.FIRST_COMPLETED)
            drain_seconds = self._settings.drain_timeout_seconds
        finally:
            self._draining = True
            # A claim that is cancelled here may have leased chunks: they are claimable again when their leases expire.
            await _end([claims, stop])
            await self._drain(drain_seconds)
            await _end(background)
        for task in (claims, *background):
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _claim(self) -> NoReturn:
        while True:
            for chunk in await repeat_transient(self._claim_free, self._backoff, logger, "claim chunks"):
                self._start_attempt(chunk)

    async def _claim_free(self) -> list[ClaimedChunk]:
        """Claim chunks for the free slots, once there are any."""
        free = await self._free_slots()
        began = time.monotonic()
        claimed = await self._claim_up_to(free)
        if not claimed and time.monotonic() - began < 1.0:  # limits the calls to a server that does not wait
            await asyncio.sleep(self._backoff.wait(3, None, random))
        return claimed

    async def _claim_up_to(self, free: int) -> list[ClaimedChunk]:
        claimed = await self._client.leases.claim_chunks(
            list(self._handlers),
            worker=self._settings.name,
            owners=self._settings.owners,
            version=self._settings.version,
            host=self._settings.host,
            max_chunks=min(free, _MAX_CLAIM_CHUNKS),
            lease_duration=self._settings.lease_duration,
            wait=self._settings.claim_wait,
            request_id=self._claim_id,
        )
        self._claim_id = str(uuid4())
        return list(claimed)

    def claim(self, ended: int) -> ClaimChunksRequest | None:
        """Return the claim for the slots of leases that end; their handlers have ended or are abandoned."""
        free = min(ended, ended + self._count_free_slots())
        if self._draining or free <= 0:
            return None
        return ClaimChunksRequest(
            kinds=list(self._handlers),
            worker=self._settings.name,
            owners=self._settings.owners,
            version=self._settings.version,
            host=self._settings.host,
            max_chunks=free,
            lease_duration=duration(self._settings.lease_duration),
        )

    def start(self, claimed: Sequence[ClaimedChunk]) -> None:
        """Work on chunks that were claimed with reports; release them when the worker has stopped meanwhile."""
        for chunk in claimed:
            if not self._draining:
                self._start_attempt(chunk)
                continue
            release = ChunkRelease(lease_token=chunk.lease.token, reason=StopReason.DRAINING.value)
            task = self._start("release of a claim", self._reports.releases.submit(release))
            self._unwanted.add(task)
            task.add_done_callback(self._unwanted.discard)

    async def _free_slots(self) -> int:
        while (free := self._count_free_slots()) <= 0:
            self._slot_freed.clear()
            await self._slot_freed.wait()
        return free

    def _count_free_slots(self) -> int:
        """Return the free slots. As many abandoned handlers as there are slots use none; each may hold a thread."""
        concurrency = self._settings.concurrency
        return concurrency - len(self._attempts) - max(0, len(self._abandoned) - concurrency)

    def _start_attempt(self, chunk: ClaimedChunk) -> None:
        registered = self._handlers[chunk.kind]
        grace = self._settings.cancel_grace_seconds
        attempt = Attempt(
            chunk,
            registered.handler,
            self._keeper,
            self._reports,
            grace,
            abandon_after_seconds=2 * grace,
            timeout=registered.timeout,
        )
        task = self._start(str(attempt), attempt.run())
        self._attempts[task] = attempt
        task.add_done_callback(self._end_attempt)

    def _end_attempt(self, task: asyncio.Task[None]) -> None:
        attempt = self._attempts.pop(task)
        self._slot_freed.set()
        if (unfinished := attempt.unfinished()) is not None:
            self._abandoned.add(unfinished)
            unfinished.add_done_callback(self._end_abandoned)
        elif (leaked := attempt.tasks.running()) and attempt.tasks.kind not in self._leaking_kinds:
            self._leaking_kinds.add(attempt.tasks.kind)
            logger.warning("%s left %d tasks running, such as %s", attempt.tasks.name, len(leaked), leaked[0])

    def _end_abandoned(self, handler: "asyncio.Future[Any]") -> None:
        self._abandoned.discard(handler)
        self._slot_freed.set()

    def _find_handler(self, task: asyncio.Task[object] | None) -> HandlerTasks | None:
        """Return the tasks of the handler that a task belongs to. The watchdog's thread calls this."""
        return next((attempt.tasks for attempt in list(self._attempts.values()) if task in attempt.tasks), None)

    async def _drain(self, drain_seconds: float) -> None:
        """Wait for the handlers, then stop them, then abandon those that do not stop; report all."""
        await self._wait_for_attempts(drain_seconds)
        for attempt in self._attempts.values():
            attempt.drain()
        await self._wait_for_attempts(self._settings.cancel_grace_seconds)
        for attempt in self._attempts.values():
            attempt.abandon()
        await self._wait_for_attempts(_LAST_REPORTS_SECONDS)
        if self._unwanted:
            await asyncio.wait(list(self._unwanted), timeout=_LAST_REPORTS_SECONDS)
        await _end([*self._attempts, *self._unwanted])

    async def _wait_for_attempts(self, seconds: float) -> None:
        if self._attempts:
            await asyncio.wait(list(self._attempts), timeout=seconds)

    def _start(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(_log_end)
        return task


async def _end(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _log_end(task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is None:
        logger.debug("ended: %s", task.get_name())
    else:
        logger.error("ended with an error: %s", task.get_name(), exc_info=error)
