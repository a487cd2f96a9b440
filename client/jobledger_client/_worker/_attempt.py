"""One attempt at one chunk, from the claim to the report of what became of it."""

import asyncio
import logging
from collections.abc import Callable
from enum import Enum
from math import inf
from typing import Any, Protocol

from jobledger.v1.worker_service_pb2 import (
    ChunkCompletion,
    ChunkFailure,
    ChunkRelease,
    ClaimedChunk,
    LeaseReport,
    LeaseResult,
    LeaseStatus,
    ProgressReport,
)

from jobledger_client._errors import JobledgerError
from jobledger_client._tracing import span_of
from jobledger_client._worker._batches import MIN_REPORT_BYTES, is_refusal, is_too_large
from jobledger_client._worker._containment import OWNER, Tasks
from jobledger_client._worker._context import ChunkContext
from jobledger_client._worker._failures import HandlerTimeout, log_text, text_of, work_error
from jobledger_client._worker._handlers import Handler, HandlerCall, NotRetryable
from jobledger_client._worker._leases import Leaseholder
from jobledger_client._worker._outbox import Item, Outbox
from jobledger_client._worker._pending import MAX_REPORT_BYTES, PendingReport
from jobledger_client._worker._reports import Reports

logger = logging.getLogger("jobledger_client.worker")

_UNSTOPPABLE = 5.0  # seconds for which a lease is extended further when its handler should have been left behind


class Stop(Enum):
    """Why an attempt was told to stop, in words for the audit trail."""

    CANCEL_REQUESTED = "the job is cancelled"
    DRAINING = "the worker shuts down"
    LEASE_LOST = "the lease is lost"
    REFUSED = "the service refused a report"
    TIMED_OUT = "the handler ran for longer than its timeout"


class Leases(Protocol):
    """Where an attempt has its lease kept."""

    def add(self, holder: Leaseholder, keep_for: float = inf) -> None:
        """Keep this lease from now on, for so many seconds at most."""

    def remove(self, holder: Leaseholder) -> None:
        """Let this lease go."""

    def wake(self) -> None:
        """Note that a holder has something to report."""


class Attempt:
    """Calls the handler and reports: completed when it returns, failed when it raises, released when it was stopped.

    `cancel_grace` is how many seconds an asynchronous handler has after a stop before it is cancelled. One that does
    not stop even then is left behind `abandon_after` seconds after the stop; None: never. A handler that runs for
    `timeout` seconds is stopped, and the attempt has failed; None: it may run for ever. Where nothing of this can be
    done, as the handler blocks the event loop, the lease is extended no longer.
    """

    def __init__(
        self,
        claimed: ClaimedChunk,
        handler: Handler,
        leases: Leases,
        reports: Reports,
        cancel_grace: float,
        abandon_after: float | None = None,
        timeout: float | None = None,
    ) -> None:
        self.lease_token = claimed.lease.token
        self.job_id = claimed.job_id
        self.pending = PendingReport(has_plan=bool(claimed.stages), wake=leases.wake)
        self._claimed = claimed
        self._context = ChunkContext(claimed, self.pending)
        self._call = HandlerCall(handler, self._context)
        self._leases = leases
        self._reports = reports
        self._cancel_grace = cancel_grace
        self._abandon_after = abandon_after
        self._timeout = timeout
        self._timed_out: HandlerTimeout | None = None
        self._loop = asyncio.get_running_loop()
        self._abandoned: asyncio.Future[None] = self._loop.create_future()
        self._task: asyncio.Task[BaseException | None] | None = None
        self._stop: Stop | None = None
        self._stops: set[Stop] = set()
        self._refusal: JobledgerError | None = None
        self._reporting = False
        self.tasks = Tasks(claimed.kind, f"the handler of {claimed.kind} ({self})")

    def __str__(self) -> str:
        return f"chunk {self._context.chunk.index} of job {self._context.job_id}"

    async def run(self) -> None:
        """Do the work under the lease, and report it."""
        timer = None
        if self._timeout is None:
            self._leases.add(self)
        else:
            self._leases.add(self, self._timeout + (self._abandon_after or 0.0) + _UNSTOPPABLE)
            timer = self._loop.call_later(self._timeout, self._time_out, self._timeout)
        OWNER.set(self.tasks)
        try:
            self._task = asyncio.create_task(self._work(), name=f"handler of {self}")
        finally:
            OWNER.set(None)
        try:
            ends: set[asyncio.Future[Any]] = {self._task, self._abandoned}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            await self._report(self._task)
        finally:
            if timer is not None:
                timer.cancel()
            self._leases.remove(self)
            self._task.cancel()

    def left_behind(self) -> "asyncio.Future[Any] | None":
        """Return what of the handler still runs after the attempt: its thread, or its task; None when it has ended."""
        if self._call.thread is not None:
            return self._call.thread
        return self._task if self._task is not None and not self._task.done() else None

    async def _work(self) -> BaseException | None:
        """Run the handler; return what it raised. Nothing that a handler raises goes further, not even SystemExit."""
        try:
            with span_of(self._claimed):
                await self._call.run()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the chunk fails of it and the worker lives
            return error
        return None

    def cancel_requested(self) -> None:
        """Stop because the job is cancelled: asynchronous handlers are cancelled after the grace."""
        self._on_loop(self._stop_for, Stop.CANCEL_REQUESTED, self._cancel_grace)

    def lease_lost(self) -> None:
        """Stop at once and report nothing: the chunk is somebody else's.

        Once the end is being reported, its answer tells: a heartbeat that comes after it finds no lease, as it should.
        """
        self._on_loop(self._lose, "the lease of %s is lost; its work stops", self)

    def lease_over(self, silence: float) -> None:
        """Stop at once and report nothing: the service may have given the chunk to somebody else."""
        self._on_loop(
            self._lose, "the lease of %s is over: the service was not reached for %.1f s; its work stops", self, silence
        )

    def refused(self, error: JobledgerError) -> None:
        """Stop because the service does not take what the handler reported: the chunk fails."""
        self._on_loop(self._refuse, error)

    def drain(self) -> None:
        """Stop because the worker shuts down."""
        self._stop_for(Stop.DRAINING, 0.0)

    def abandon(self) -> None:
        """Wait no longer for a handler that does not stop; one that has stopped is only waiting for its report."""
        if self._task is not None and not self._task.done() and not self._abandoned.done():
            logger.warning("the handler of %s does not stop; it is left behind", self)
            self._abandoned.set_result(None)

    def _on_loop(self, stop: Callable[..., None], *args: object) -> None:
        """Stop from any thread: the context is told at once, also while the loop is blocked.

        The loop hears of it first, so that it never takes the end of a handler that obeys for a completion.
        """
        if self._reporting:
            return
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(stop, *args)
        self._context.cancel()

    def _lose(self, message: str, *args: object) -> None:
        if self._reporting:
            return
        logger.warning(message, *args)
        self._stop_for(Stop.LEASE_LOST, 0.0)
        self._stop = Stop.LEASE_LOST  # whatever came before: there is nothing left to report

    def _refuse(self, error: JobledgerError) -> None:
        if self._reporting:
            return
        logger.error("the service refused what %s reported: %s", self, error)
        if self._stop is None:
            self._refusal = error
        self._stop_for(Stop.REFUSED, 0.0)

    def _time_out(self, seconds: float) -> None:
        if self._task is None or self._task.done():
            return
        logger.warning("the handler of %s has run for its timeout of %g s; it is stopped", self, seconds)
        if self._stop is None:
            self._timed_out = HandlerTimeout(seconds)
        self._stop_for(Stop.TIMED_OUT, self._cancel_grace)

    def _stop_for(self, stop: Stop, grace: float) -> None:
        """Have the handler stop; of several reasons the first one counts."""
        if stop in self._stops:
            return
        self._stops.add(stop)
        first = self._stop is None
        self._stop = self._stop or stop
        self._context.cancel()
        if grace <= 0:
            self._cancel_handler()
        elif first:
            self._loop.call_later(grace, self._cancel_handler)
        if first and self._abandon_after is not None and stop is not Stop.DRAINING:
            self._loop.call_later(self._abandon_after, self.abandon)

    def _cancel_handler(self) -> None:
        if self._task is not None and self._call.can_be_cancelled:
            self._task.cancel()

    async def _report(self, task: "asyncio.Task[BaseException | None]") -> None:
        error = _error_of(task)
        try:
            if self._stop is Stop.LEASE_LOST:
                return
            self._reporting = True
            if self._refusal is not None:
                await self._fail(self._refusal, retryable=False)
            elif self._timed_out is not None:
                await self._fail(self._timed_out, retryable=True)
            elif self._stop is not None:
                await self._release(self._stop)
            elif error is not None:
                logger.warning("%s failed: %s\n%s", self, text_of(error)[:1_024], log_text(error))
                await self._fail(error, retryable=not isinstance(error, NotRetryable))
            else:
                await self._complete()
        except JobledgerError:
            logger.exception("the end of %s could not be reported", self)

    async def _complete(self) -> None:
        def completion(last: ProgressReport) -> ChunkCompletion:
            return ChunkCompletion(lease_token=self.lease_token, progress=last, result_uri=self._context.result_uri)

        try:
            await self._end(self._reports.completions, completion)
        except JobledgerError as error:
            if not is_refusal(error):
                raise
            logger.exception("the service refused the completion of %s", self)
            await self._fail(error, retryable=False)

    async def _fail(self, error: BaseException, *, retryable: bool) -> None:
        why = work_error(error, self.pending.stage)

        def failure(last: ProgressReport | None) -> ChunkFailure:
            return ChunkFailure(lease_token=self.lease_token, error=why, not_retryable=not retryable, progress=last)

        await self._end_anyhow(self._reports.failures, failure)

    async def _release(self, stop: Stop) -> None:
        def release(last: ProgressReport | None) -> ChunkRelease:
            return ChunkRelease(lease_token=self.lease_token, progress=last, reason=stop.value)

        await self._end_anyhow(self._reports.releases, release)

    async def _end_anyhow(self, outbox: Outbox[Item], item: Callable[[ProgressReport | None], Item]) -> None:
        """End the lease with the last report; without it, when the service refuses it."""
        try:
            await self._end(outbox, item)
        except JobledgerError as error:
            if not is_refusal(error):
                raise
            logger.warning("the service refused the last report of %s: %s", self, error)
            self._log_if_lost(await outbox.post(item(None)))

    async def _end(self, outbox: Outbox[Item], item: Callable[[ProgressReport], Item]) -> None:
        """End the lease with the last report, in one call; what is too much for one goes ahead of it."""
        max_bytes = MAX_REPORT_BYTES
        while True:
            try:
                taken = self.pending.take(max_bytes)
                while not taken.is_all:
                    await self._reports.ahead.post(LeaseReport(lease_token=self.lease_token, progress=taken.report))
                    self.pending.confirm(taken)
                    taken = self.pending.take(max_bytes)
                self._log_if_lost(await outbox.post(item(taken.report)))
            except JobledgerError as error:
                max_bytes //= 4
                if not is_too_large(error) or max_bytes < MIN_REPORT_BYTES:
                    raise
            else:
                return

    def _log_if_lost(self, result: LeaseResult) -> None:
        if result.status == LeaseStatus.LEASE_STATUS_LEASE_LOST:
            logger.warning("the lease of %s was lost before its end was reported", self)


def _error_of(task: "asyncio.Task[BaseException | None]") -> BaseException | None:
    """Return what the handler raised; nothing for one that was left behind."""
    if not task.done():
        return None
    return asyncio.CancelledError() if task.cancelled() else task.result()
