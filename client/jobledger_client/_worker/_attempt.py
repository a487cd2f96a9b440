"""One attempt at one chunk, from the claim to the report of its end."""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from math import inf
from typing import Any, Protocol

from jobledger.v1.worker_service_pb2 import (
    ChunkFailure,
    ChunkRelease,
    ClaimedChunk,
    LeaseReport,
    LeaseResult,
    LeaseStop,
    ProgressReport,
)

from jobledger_client._error_groups import JobledgerError
from jobledger_client._generated._enums import LeaseStatus
from jobledger_client._values import duration
from jobledger_client._worker._batches import MIN_REPORT_BYTES, is_refusal, is_too_large
from jobledger_client._worker._context import ChunkContext, StopReason
from jobledger_client._worker._failures import HandlerTimeout, error_text, retry_delay, traceback_text, work_error
from jobledger_client._worker._handler_tasks import OWNER, HandlerTasks
from jobledger_client._worker._handlers import Handler, HandlerCall, NotRetryable, RetryLater
from jobledger_client._worker._leases import Leaseholder
from jobledger_client._worker._outbox import Item, Outbox
from jobledger_client._worker._pending import MAX_REPORT_BYTES, PendingReport
from jobledger_client._worker._reports import Reports
from jobledger_client._worker._spans import span_of
from jobledger_client._worker._stops import stop_message

logger = logging.getLogger("jobledger_client.worker")

_UNSTOPPABLE_SECONDS = 5.0  # for which a lease is still extended after its handler should have been abandoned


class LeaseRegistry(Protocol):
    """Extends the leases that are added to it."""

    def add(self, holder: Leaseholder, max_seconds: float = inf, granted: tuple[int, int] | None = None) -> None:
        """Extend this lease from now on, for at most `max_seconds`.

        `granted` are its start and its end by the service's clock, in microseconds.
        """

    def remove(self, holder: Leaseholder) -> None:
        """Stop extending this lease."""

    def wake(self) -> None:
        """Send the pending reports now."""


class Attempt:
    """Calls the handler and reports: completed when it returns, failed when it raises, released after a stop.

    A handler that returns after `ctx.release` has its chunk released.

    An asynchronous handler is cancelled `cancel_grace_seconds` after a stop. A handler that still runs
    `abandon_after_seconds` after the stop is abandoned. A handler that runs for `timeout` is stopped, and the attempt
    fails; None: no limit. When the handler blocks the event loop, so that it cannot
    be stopped, the lease is no longer extended.
    """

    def __init__(
        self,
        claimed: ClaimedChunk,
        handler: Handler,
        leases: LeaseRegistry,
        reports: Reports,
        cancel_grace_seconds: float,
        abandon_after_seconds: float = inf,
        timeout: timedelta | None = None,
    ) -> None:
        self.lease_token = claimed.lease.token
        self.job_id = claimed.job_id
        self.pending = PendingReport(has_plan=bool(claimed.stages), wake=leases.wake)
        self._claimed = claimed
        self._context = ChunkContext(claimed, self.pending)
        self._call = HandlerCall(handler, self._context)
        self._leases = leases
        self._reports = reports
        self._cancel_grace_seconds = cancel_grace_seconds
        self._abandon_after_seconds = abandon_after_seconds
        self._timeout = timeout
        self._timed_out: HandlerTimeout | None = None
        self._loop = asyncio.get_running_loop()
        self._abandoned: asyncio.Future[None] = self._loop.create_future()
        self._task: asyncio.Task[BaseException | None] | None = None
        self._stop: StopReason | None = None
        self._stops: set[StopReason] = set()
        self._refusal: JobledgerError | None = None
        self._reporting = False
        self.tasks = HandlerTasks(claimed.kind, f"the handler of {claimed.kind} ({self})")

    def __str__(self) -> str:
        return f"chunk {self._context.chunk.index} of job {self._context.job_id}"

    async def run(self) -> None:
        """Do the work under the lease, and report it."""
        timer = None
        granted = _granted(self._claimed)
        if self._timeout is None:
            self._leases.add(self, granted=granted)
        else:
            timeout = self._timeout.total_seconds()
            self._leases.add(self, timeout + self._abandon_after_seconds + _UNSTOPPABLE_SECONDS, granted)
            timer = self._loop.call_later(timeout, self._time_out, self._timeout)
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

    def unfinished(self) -> "asyncio.Future[Any] | None":
        """Return the thread or the task of a handler that still runs after the attempt; None when it has ended."""
        if self._call.thread is not None:
            return self._call.thread
        return self._task if self._task is not None and not self._task.done() else None

    async def _work(self) -> BaseException | None:
        """Run the handler; return its exception. No exception of a handler propagates, not even SystemExit."""
        try:
            with span_of(self._claimed):
                await self._call.run()
        except BaseException as error:  # noqa: BLE001 - any exception fails the chunk, and the worker survives
            return error
        return None

    def cancel_requested(self, stop: LeaseStop) -> None:
        """Stop because the job is cancelled: asynchronous handlers are cancelled after the grace period."""
        reason, message = StopReason.CANCEL_REQUESTED, stop_message(stop)
        self._on_loop(reason, message, self._stop_for, reason, self._cancel_grace_seconds, message)

    def lease_lost(self, stop: LeaseStop) -> None:
        """Stop at once and report nothing: another worker may have the chunk.

        While the end is being reported this does nothing: a heartbeat after that report finds no lease.
        """
        message = stop_message(stop)
        self._lose(StopReason.LEASE_LOST, message, "the lease of %s is lost, as %s; its work stops", self, message)

    def lease_expired(self, silence_seconds: float) -> None:
        """Stop at once and report nothing: another worker may have the chunk."""
        message = "the lease of %s has expired: the service was unreachable for %.1f s; its work stops"
        self._lose(StopReason.LEASE_LOST, "", message, self, silence_seconds)

    def attempt_timed_out(self) -> None:
        """Stop at once and report nothing: the attempt took longer than the job's attempt_timeout."""
        message = "the attempt at %s took longer than its attempt_timeout; its work stops"
        self._lose(StopReason.TIMED_OUT, "", message, self)

    def refused(self, error: JobledgerError) -> None:
        """Stop and fail the chunk, because the service refused the handler's report."""
        self._on_loop(StopReason.REFUSED, str(error), self._fail_refused, error)

    def drain(self) -> None:
        """Stop because the worker shuts down."""
        self._stop_for(StopReason.DRAINING, 0.0)

    def abandon(self) -> None:
        """Stop waiting for a handler that does not stop. A stopped one only waits for its report."""
        if self._task is not None and not self._task.done() and not self._abandoned.done():
            logger.warning("the handler of %s does not stop; it is abandoned", self)
            self._abandoned.set_result(None)

    def _lose(self, reason: StopReason, why: str, message: str, *args: object) -> None:
        self._on_loop(reason, why, self._lose_lease, reason, why, message, *args)

    def _on_loop(self, reason: StopReason, why: str, stop: Callable[..., None], *args: object) -> None:
        """Stop from any thread, also while the loop is blocked.

        The loop receives the stop before the context does, so that a handler which returns after it is not completed.
        """
        if self._reporting:
            return
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(stop, *args)
        self._context.cancel(reason, why)

    def _lose_lease(self, reason: StopReason, why: str, message: str, *args: object) -> None:
        if self._reporting:
            return
        logger.warning(message, *args)
        self._context.cancel(reason, why)
        self._stop_for(StopReason.LEASE_LOST, 0.0)
        self._stop = StopReason.LEASE_LOST  # overrides any earlier reason: nothing may be reported

    def _fail_refused(self, error: JobledgerError) -> None:
        if self._reporting:
            return
        logger.error("the service refused what %s reported: %s", self, error)
        if self._stop is None:
            self._refusal = error
        self._stop_for(StopReason.REFUSED, 0.0, str(error))

    def _time_out(self, timeout: timedelta) -> None:
        if self._task is None or self._task.done():
            return
        logger.warning(
            "the handler of %s has exceeded its timeout of %g s; it is stopped", self, timeout.total_seconds()
        )
        if self._stop is None:
            self._timed_out = HandlerTimeout(timeout)
        self._stop_for(StopReason.TIMED_OUT, self._cancel_grace_seconds)

    def _stop_for(self, stop: StopReason, grace_seconds: float, why: str = "") -> None:
        """Stop the handler; of several reasons the first one counts."""
        if stop in self._stops:
            return
        self._stops.add(stop)
        first = self._stop is None
        self._stop = self._stop or stop
        self._context.cancel(stop, why)
        if grace_seconds <= 0:
            self._cancel_handler()
        elif first:
            self._loop.call_later(grace_seconds, self._cancel_handler)
        if first and self._abandon_after_seconds < inf and stop is not StopReason.DRAINING:
            self._loop.call_later(self._abandon_after_seconds, self.abandon)

    def _cancel_handler(self) -> None:
        if self._task is not None and self._call.can_be_cancelled:
            self._task.cancel()

    async def _report(self, task: "asyncio.Task[BaseException | None]") -> None:
        error = _error_of(task)
        try:
            if self._stop is StopReason.LEASE_LOST:
                return
            self._reporting = True
            if self._refusal is not None:
                await self._fail(self._refusal, retryable=False)
            elif self._timed_out is not None:
                await self._fail(self._timed_out, retryable=True)
            elif self._stop is not None:
                await self._release(self._stop.value)
            elif error is not None:
                if isinstance(error, RetryLater):
                    logger.info("%s is tried again after %s: %s", self, retry_delay(error), error_text(error)[:1_024])
                else:
                    logger.warning("%s failed: %s\n%s", self, error_text(error)[:1_024], traceback_text(error))
                await self._fail(error, retryable=not isinstance(error, NotRetryable))
            elif (postponed := self._context.postponed) is not None:
                await self._release(postponed.reason, postponed.after)
            else:
                await self._complete()
        except JobledgerError:
            logger.exception("could not report the end of %s", self)

    async def _complete(self) -> None:
        try:
            await self._end(self._reports.completions, self._context.completion)
        except JobledgerError as error:
            if not is_refusal(error):
                raise
            logger.exception("the service refused the completion of %s", self)
            await self._fail(error, retryable=False)

    async def _fail(self, error: BaseException, *, retryable: bool) -> None:
        cause = work_error(error, self.pending.stage)
        delay = duration(retry_delay(error))

        def failure(last: ProgressReport | None) -> ChunkFailure:
            return ChunkFailure(
                lease_token=self.lease_token,
                error=cause,
                not_retryable=not retryable,
                progress=last,
                retry_delay=delay,
            )

        await self._end_or_drop_report(self._reports.failures, failure)

    async def _release(self, reason: str, after: timedelta | None = None) -> None:
        def release(last: ProgressReport | None) -> ChunkRelease:
            return ChunkRelease(lease_token=self.lease_token, progress=last, reason=reason, delay=duration(after))

        await self._end_or_drop_report(self._reports.releases, release)

    async def _end_or_drop_report(self, outbox: Outbox[Item], item: Callable[[ProgressReport | None], Item]) -> None:
        """End the lease with the last report; without it when the service refuses it."""
        try:
            await self._end(outbox, item)
        except JobledgerError as error:
            if not is_refusal(error):
                raise
            logger.warning("the service refused the last report of %s: %s", self, error)
            self._log_if_lost(await outbox.submit(item(None)))

    async def _end(self, outbox: Outbox[Item], item: Callable[[ProgressReport], Item]) -> None:
        """End the lease with the last report, in one call; what exceeds one call is sent before it."""
        max_bytes = MAX_REPORT_BYTES
        while True:
            try:
                last = self.pending.snapshot(max_bytes)
                while not last.is_all:
                    overflow = LeaseReport(lease_token=self.lease_token, progress=last.report)
                    await self._reports.overflow.submit(overflow)
                    self.pending.confirm(last)
                    last = self.pending.snapshot(max_bytes)
                self._log_if_lost(await outbox.submit(item(last.report)))
            except JobledgerError as error:
                max_bytes //= 4
                if not is_too_large(error) or max_bytes < MIN_REPORT_BYTES:
                    raise
            else:
                return

    def _log_if_lost(self, result: LeaseResult) -> None:
        if result.status == LeaseStatus.LEASE_LOST:
            logger.warning("the lease of %s was lost before its end was reported", self)


def _granted(claimed: ClaimedChunk) -> tuple[int, int] | None:
    """Return the start and the end of a lease by the service's clock, in microseconds; None when it has none."""
    start, end = claimed.chunk.start_time, claimed.lease.expire_time
    return (start.ToMicroseconds(), end.ToMicroseconds()) if claimed.lease.HasField("expire_time") else None


def _error_of(task: "asyncio.Task[BaseException | None]") -> BaseException | None:
    """Return the exception of the handler; None for an abandoned one."""
    if not task.done():
        return None
    return asyncio.CancelledError() if task.cancelled() else task.result()
