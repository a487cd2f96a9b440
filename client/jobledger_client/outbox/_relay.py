"""The relay: it claims rows, sends them, and records what became of them."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from random import random
from time import monotonic
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, TypeVar, Unpack, cast

from jobledger.v1.job_service_pb2 import BatchCreateJobsRequest
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from jobledger_client._async._client import AsyncJobClient
from jobledger_client._connection import ConnectionOptions
from jobledger_client._error_groups import (
    DeadlineExceededError,
    JobledgerError,
    UnauthenticatedError,
    UnavailableError,
)
from jobledger_client._generated._errors import JobNotFoundError, QueueFullError, RateLimitedError, TooManyReadsError
from jobledger_client._retry import Backoff, had_no_effect, is_reset
from jobledger_client._runnable import Runnable
from jobledger_client._status import error_of_entry
from jobledger_client._worker._transient import is_transient
from jobledger_client.outbox import _metrics as metrics
from jobledger_client.outbox import _store as store
from jobledger_client.outbox._rows import now
from jobledger_client.outbox._store import Failure, OutboxRow

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

logger = logging.getLogger("jobledger_client.outbox")

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_CALL_TIMEOUT: Final = timedelta(seconds=20)
_LAST_CALL_SECONDS: Final = store.LEASE_SECONDS - 2 * _CALL_TIMEOUT.total_seconds()
"""How long after a claim a call may begin: it ends before another relay claims the rows."""
_METRICS_SECONDS: Final = 10.0
_BACKOFF: Final = Backoff()
_ROW_BACKOFF: Final = Backoff(initial=timedelta(seconds=1), max_wait=timedelta(minutes=5))

_CALL_ERRORS = (
    UnavailableError,
    DeadlineExceededError,
    UnauthenticatedError,
    RateLimitedError,
    QueueFullError,
    TooManyReadsError,
)


class Relay(Runnable):
    """Sends the rows of an outbox to the server, as a task of a service or as a process of its own.

    `engine` is an Engine or an AsyncEngine of the database that has the outbox. The relay looks for rows each
    `poll_interval`. For the other parameters see AsyncJobClient. A relay waits for a database and a server that are
    unreachable. There may be several; each row is sent by one of them at a time. It serves once.
    """

    def __init__(
        self,
        engine: "Engine | AsyncEngine",
        target: str = "127.0.0.1:7070",
        *,
        poll_interval: timedelta = timedelta(milliseconds=500),
        **connection: Unpack[ConnectionOptions],
    ) -> None:
        super().__init__()
        # SQLite has one writer. Elsewhere a stricter level locks the gaps that inserts need, or fails in conflicts.
        self._engine = (
            engine if engine.dialect.name == "sqlite" else engine.execution_options(isolation_level="READ COMMITTED")
        )
        self._open_client = partial(AsyncJobClient, target, **connection)
        self._poll_seconds = poll_interval.total_seconds()
        self._metrics_at = 0.0

    async def serve(self) -> None:
        """Relay rows until `stop`; then finish the batch in hand, and return."""
        self._loop = asyncio.get_running_loop()
        failures = 0
        async with self._open_client() as client:
            while not self._stopping.is_set():
                try:
                    delay = 0.0 if await self._relay_batch(client) else self._poll_seconds
                    failures = 0
                    await self._show_metrics()
                except (JobledgerError, SQLAlchemyError) as error:
                    failures += 1
                    delay = _BACKOFF.wait(failures, error if isinstance(error, JobledgerError) else None, random)
                    logger.warning("could not relay the outbox; next attempt in %.1f s: %s", delay, error)
                await self._pause(delay)

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _relay_batch(self, client: AsyncJobClient) -> bool:
        """Send the first due rows; return whether there were any."""
        if not await self._transact(store.is_any_due):
            return False
        claimed_at = monotonic()
        rows = await self._transact(store.claim)
        pending = {row.position: row for row in rows}
        try:
            await self._settle_created(client, pending)
            await self._send(client, list(pending.values()), pending, claimed_at)
        except JobledgerError as error:
            await self._transact(store.release, list(pending), unsent=had_no_effect(error))
            raise
        return bool(rows)

    async def _settle_created(self, client: AsyncJobClient, pending: dict[int, OutboxRow]) -> None:
        """Delete the rows whose jobs exist from an earlier attempt, of which no relay knows the outcome.

        The server returns a job that exists to an equal request, but would create one again that was deleted meanwhile.
        """
        created = []
        for row in [row for row in pending.values() if row.generated_id and row.attempts > 1 and row.request.job_id]:
            try:
                if await _was_created(client, row.request.job_id):
                    created.append(row.position)
            except JobledgerError as error:
                if _is_of_call(error):
                    raise
                await self._fail([(row, error)], pending)
        await self._delete(created, pending)

    async def _send(
        self, client: AsyncJobClient, rows: Sequence[OutboxRow], pending: dict[int, OutboxRow], claimed_at: float
    ) -> None:
        """Send rows, in one call if the server accepts it, else in a call for each; settle them."""
        if not rows:
            return
        if monotonic() > claimed_at + _LAST_CALL_SECONDS:
            await self._transact(store.release, [row.position for row in rows], unsent=True)
            return
        request = BatchCreateJobsRequest(requests=[row.request for row in rows])
        try:
            # It is not repeated within the call: between two attempts the job may be created, done and deleted.
            send = client.jobs._stub.BatchCreateJobs  # noqa: SLF001 - the client's own call makes new requests
            response = await client._caller.call(send, request, idempotent=False, timeout=_CALL_TIMEOUT)  # noqa: SLF001
        except JobledgerError as error:
            if _is_of_call(error):
                raise
            if len(rows) == 1:
                await self._fail([(rows[0], error)], pending)
            else:
                for row in rows:
                    await self._send(client, [row], pending, claimed_at)
            return
        results = list(zip(rows, response.results, strict=True))
        await self._delete([row.position for row, result in results if not result.HasField("error")], pending)
        await self._fail(
            [(row, error_of_entry(result.error)) for row, result in results if result.HasField("error")], pending
        )

    async def _delete(self, positions: list[int], pending: dict[int, OutboxRow]) -> None:
        if positions:
            await self._transact(store.delete_rows, positions)
            metrics.count_sent(len(positions))
        for position in positions:
            del pending[position]

    async def _fail(self, failed: list[tuple[OutboxRow, JobledgerError]], pending: dict[int, OutboxRow]) -> None:
        failures = [_failure(row, error) for row, error in failed]
        if failures:
            await self._transact(store.record_failures, failures)
            metrics.count_refused(sum(failure.due_time is None for failure in failures))
        for (row, error), failure in zip(failed, failures, strict=True):
            fate = "was refused" if failure.due_time is None else "is sent again later"
            logger.warning("row %d of the outbox, job %s, %s: %s", row.position, row.request.job_id, fate, error)
            del pending[row.position]

    async def _show_metrics(self) -> None:
        if metrics.ENABLED and monotonic() >= self._metrics_at:
            self._metrics_at = monotonic() + _METRICS_SECONDS
            metrics.show(await self._transact(store.backlog))

    async def _transact(
        self,
        work: Callable[Concatenate[Connection, Parameters], Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Do work in a transaction: an asynchronous engine's, or on a thread."""
        if hasattr(self._engine, "sync_engine"):
            async with cast("AsyncEngine", self._engine).begin() as connection:
                return await connection.run_sync(work, *args, **kwargs)

        def transact() -> Result:
            with cast("Engine", self._engine).begin() as connection:
                return work(connection, *args, **kwargs)

        return await asyncio.to_thread(transact)


async def _was_created(client: AsyncJobClient, job_id: str) -> bool:
    """Return whether the job exists, or existed: its trail remains after its deletion."""
    try:
        await anext(aiter(client.list_events(job_id, page_size=1, timeout=_CALL_TIMEOUT)), None)
    except JobNotFoundError:
        return False
    return True


def _is_of_call(error: JobledgerError) -> bool:
    """Return whether an error says nothing about the rows: the relay waits, and sends the same rows again."""
    return isinstance(error, _CALL_ERRORS) or is_reset(error)


def _failure(row: OutboxRow, error: JobledgerError) -> Failure:
    due_time = None
    if is_transient(error):
        due_time = now() + round(_ROW_BACKOFF.wait(max(row.attempts, 1), error, random) * 1_000)
    return Failure(row.position, due_time, error.reason or error.code.name, error.message)
