"""One attempt at one chunk, from the claim to the report of what became of it."""

import asyncio
import logging
from enum import Enum, auto

from jobledger.v1.chunk_pb2 import WorkError
from jobledger.v1.worker_service_pb2 import ChunkCompletion, ChunkFailure, ClaimedChunk, LeaseResult, LeaseStatus

from jobledger_client._errors import InvalidFieldError, JobledgerError
from jobledger_client._tracing import span_of
from jobledger_client._worker._context import ChunkContext
from jobledger_client._worker._handlers import Handler, NotRetryable, call, is_async
from jobledger_client._worker._heartbeats import Heartbeats
from jobledger_client._worker._news import News
from jobledger_client._worker._reports import Reports

logger = logging.getLogger("jobledger_client.worker")

_CODE_LENGTH = 128
_MESSAGE_LENGTH = 4_096


class Stop(Enum):
    """Why an attempt was told to stop."""

    CANCEL_REQUESTED = auto()
    DRAINING = auto()
    LEASE_LOST = auto()
    REFUSED = auto()


class Attempt:
    """Calls the handler and reports: completed when it returns, failed when it raises, released when it was stopped."""

    def __init__(
        self, claimed: ClaimedChunk, handler: Handler, heartbeats: Heartbeats, reports: Reports, cancel_grace: float
    ) -> None:
        self.lease_token = claimed.lease.token
        self.news = News(has_plan=bool(claimed.stages), wake=heartbeats.wake)
        self._claimed = claimed
        self._context = ChunkContext(claimed, self.news)
        self._handler = handler
        self._heartbeats = heartbeats
        self._reports = reports
        self._cancel_grace = cancel_grace
        self._loop = asyncio.get_running_loop()
        self._abandoned: asyncio.Future[None] = self._loop.create_future()
        self._task: asyncio.Task[None] | None = None
        self._stop: Stop | None = None
        self._refusal: JobledgerError | None = None
        self._reporting = False

    def __str__(self) -> str:
        return f"chunk {self._context.chunk.index} of job {self._context.job_id}"

    async def run(self) -> None:
        """Do the work under the lease, and report it."""
        self._heartbeats.add(self)
        self._task = asyncio.create_task(self._work(), name=f"handler of {self}")
        try:
            await asyncio.wait({self._task, self._abandoned}, return_when=asyncio.FIRST_COMPLETED)
            await self._report(self._task)
        finally:
            self._heartbeats.remove(self)
            self._task.cancel()

    async def _work(self) -> None:
        with span_of(self._claimed):
            await call(self._handler, self._context)

    def cancel_requested(self) -> None:
        """Stop because the job is cancelled: asynchronous handlers are cancelled after the grace."""
        if self._note(Stop.CANCEL_REQUESTED) and is_async(self._handler):
            self._loop.call_later(self._cancel_grace, self._cancel_handler)

    def lease_lost(self) -> None:
        """Stop at once and say nothing: the chunk is somebody else's.

        Once the end is being reported, its answer tells: a heartbeat that comes after it finds no lease, as it should.
        """
        if self._reporting:
            return
        logger.warning("the lease of %s is lost; its work stops", self)
        self._note(Stop.LEASE_LOST)
        self._stop = Stop.LEASE_LOST  # whatever came before: there is nothing left to report
        if is_async(self._handler):
            self._cancel_handler()

    def refused(self, error: JobledgerError) -> None:
        """Stop because the service does not take what the handler reported: the chunk fails."""
        logger.error("the service refused what %s reported: %s", self, error)
        if self._note(Stop.REFUSED):
            self._refusal = error
        if is_async(self._handler):
            self._cancel_handler()

    def drain(self) -> None:
        """Stop because the worker shuts down."""
        self._note(Stop.DRAINING)
        if is_async(self._handler):
            self._cancel_handler()

    def abandon(self) -> None:
        """Wait no longer for a handler that does not stop; one that has stopped is only waiting for its report."""
        if self._task is not None and not self._task.done() and not self._abandoned.done():
            logger.warning("the handler of %s does not stop; it is left behind and its chunk is given back", self)
            self._abandoned.set_result(None)

    def _note(self, stop: Stop) -> bool:
        """Note why to stop, if this is the first reason."""
        first = self._stop is None
        self._stop = self._stop or stop
        self._context.cancel()
        return first

    def _cancel_handler(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _report(self, task: asyncio.Task[None]) -> None:
        error = _error_of(task)
        try:
            if self._stop is Stop.LEASE_LOST:
                return
            self._reporting = True
            if self._refusal is not None:
                await self._fail(self._refusal, retryable=False)
            elif self._stop is not None:
                await self._release(self._stop)
            elif error is not None:
                logger.warning("%s failed: %r", self, error, exc_info=error)
                await self._fail(error, retryable=not isinstance(error, NotRetryable))
            else:
                await self._complete()
        except JobledgerError:
            logger.exception("the end of %s could not be reported", self)

    async def _complete(self) -> None:
        last = self.news.take(self.lease_token).report
        completion = ChunkCompletion(
            lease_token=self.lease_token,
            artifacts=last.artifacts,
            job_artifacts=last.job_artifacts,
            result_uri=self._context.result_uri,
        )
        try:
            self._log_if_lost(await self._reports.completions.post(completion))
        except InvalidFieldError as error:
            logger.exception("the service refused the completion of %s", self)
            await self._fail(error, retryable=False)

    async def _fail(self, error: BaseException, *, retryable: bool) -> None:
        await self._flush_artifacts()
        code = getattr(error, "code", None) if isinstance(error, NotRetryable) else None
        why = WorkError(
            code=(code or type(error).__name__)[:_CODE_LENGTH],
            message=str(error)[:_MESSAGE_LENGTH],
            stage=self._context.stage,
        )
        failure = ChunkFailure(lease_token=self.lease_token, error=why, not_retryable=not retryable)
        self._log_if_lost(await self._reports.failures.post(failure))

    async def _release(self, stop: Stop) -> None:
        await self._flush_artifacts()
        releases = self._reports.releases_of_cancelled
        if stop is Stop.DRAINING:
            releases = self._reports.releases_of_draining
        self._log_if_lost(await releases.post(self.lease_token))

    async def _flush_artifacts(self) -> None:
        """Send artifacts ahead of a report that cannot carry them."""
        if self.news.has_artifacts:
            await self._heartbeats.flush(self)

    def _log_if_lost(self, result: LeaseResult) -> None:
        if result.status == LeaseStatus.LEASE_STATUS_LEASE_LOST:
            logger.warning("the lease of %s was lost before its end was reported", self)


def _error_of(task: asyncio.Task[None]) -> BaseException | None:
    """Return what the handler raised; nothing for one that was left behind."""
    if not task.done():
        return None
    return asyncio.CancelledError("the handler cancelled itself") if task.cancelled() else task.exception()
