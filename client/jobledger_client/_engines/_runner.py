"""Attempts at named chunks in an engine's own process: the engine calls plain code, which does the work."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Self, TypeVar, Unpack

import grpc
from jobledger.v1.worker_service_pb2 import ClaimedChunk

from jobledger_client._async._client import AsyncJobClient
from jobledger_client._connection import ConnectionOptions
from jobledger_client._engines._loop_thread import LoopThread
from jobledger_client._error_groups import ClientClosedError
from jobledger_client._generated._errors import ChunkNotClaimableError
from jobledger_client._sync._client import JobClient
from jobledger_client._values import seconds
from jobledger_client._worker._attempt import Attempt
from jobledger_client._worker._context import ChunkContext
from jobledger_client._worker._lease_keeper import checked_interval

Result = TypeVar("Result")


class EngineRunner:
    """Runs attempts at chunks that an engine names: RunPod, Airflow, Celery, a cron job.

    `name` is for people and the audit trail; None means host and process id. `lease_duration`, 1 s to 24 h, is how long
    a process that died keeps its chunk; a thread sends heartbeats each `heartbeat_interval`, None means a third of
    `lease_duration`. For the other parameters see AsyncJobClient. Any thread may use it. A process that was forked
    after the first attempt needs a runner of its own, and gets ClientClosedError from this one.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:7070",
        *,
        name: str | None = None,
        lease_duration: timedelta = timedelta(seconds=30),
        heartbeat_interval: timedelta | None = None,
        **connection: Unpack[ConnectionOptions],
    ) -> None:
        self._name = name
        self._lease_duration = lease_duration
        self._heartbeat_interval = checked_interval(lease_duration, heartbeat_interval)
        self._open_client: Callable[[], AsyncJobClient] = partial(AsyncJobClient, target, **connection)
        self._open_sync_client: Callable[[], JobClient] = partial(JobClient, target, **connection)
        self._process: int | None = None  # of the first attempt
        self._lock = threading.Lock()
        self._loop_thread: LoopThread | None = None
        self._running: set[tuple[str, str, int]] = set()

    @property
    def name(self) -> str:
        """The name of this process in leases and the audit trail."""
        return self._name or f"{socket.gethostname()}-{os.getpid()}"

    @contextmanager
    def attempt(
        self,
        job_id: str,
        chunk_index: int = 0,
        *,
        task_id: str,
        owner: str = "",
        on_overdue: Callable[[], object] | None = None,
        cancel_grace: timedelta = timedelta(seconds=5),
    ) -> Iterator[ChunkContext]:
        """Lease the chunk under the engine's `task_id`, and report the end of the block.

        The chunk is completed when the block ends, failed when it raises (the engine gets the error, too), and released
        when it ends after `cancelled`, or with SystemExit or KeyboardInterrupt. Another thread calls `on_overdue` when
        the block still runs `cancel_grace` after `cancelled`. `owner` is whose job it is, one that the key serves.

        Raises ChunkNotClaimableError when there is nothing to do: the chunk is completed, cancelled, not yet due, or
        another process works on it, even under the same `task_id`. Also raises JobNotFoundError, ChunkNotFoundError,
        and ClientClosedError when the runner is closed before the end is reported: the lease then expires.
        """
        claimed = self._claim(job_id, chunk_index, task_id, owner)
        ended: Future[None] = Future()
        started: Future[tuple[Attempt, ChunkContext]] = Future()
        loop_thread = self._get_loop_thread()
        reported = loop_thread.start(
            _run_attempt(loop_thread, claimed, started, ended, seconds(cancel_grace), on_overdue)
        )
        attempt, context = _result_of(started)
        try:
            yield context
        except (SystemExit, KeyboardInterrupt):
            attempt.drain()
            raise
        except BaseException as error:
            ended.set_exception(error)
            raise
        finally:
            if not ended.done():
                ended.set_result(None)
            try:
                _result_of(reported)
            finally:
                self._running.discard((owner, job_id, chunk_index))

    def close(self) -> None:
        """End the connection. Attempts that still run are not reported: their leases expire."""
        if self._process != os.getpid():
            return
        with self._lock:
            if self._loop_thread is not None:
                self._loop_thread.close()
                self._loop_thread = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _get_loop_thread(self) -> LoopThread:
        self._process = self._process or os.getpid()
        if self._process != os.getpid():  # before the lock, which a thread of the parent may have held at the fork
            raise _closed("the runner was used before this process was forked; create another one after the fork")
        with self._lock:
            if self._loop_thread is None or not self._loop_thread.is_usable:
                self._loop_thread = LoopThread(
                    self._open_client, self._open_sync_client, self._lease_duration, self._heartbeat_interval, self.name
                )
                self._running.clear()
            return self._loop_thread

    def _claim(self, job_id: str, chunk_index: int, task_id: str, owner: str) -> ClaimedChunk:
        """Lease the chunk, unless a task with the same id works on it: engines may deliver a task twice."""
        loop_thread, chunk = self._get_loop_thread(), (owner, job_id, chunk_index)
        with self._lock:
            if chunk in self._running:
                raise _already_claimed(job_id, chunk_index, self.name)
            self._running.add(chunk)
        try:
            claimed = _result_of(
                loop_thread.start(
                    loop_thread.client.leases.claim_chunk(
                        job_id,
                        chunk_index,
                        worker=self.name,
                        task_id=task_id,
                        owner=owner,
                        lease_duration=self._lease_duration,
                    )
                )
            )
        except BaseException:
            self._running.discard(chunk)
            raise
        if claimed.chunk.worker != self.name:
            self._running.discard(chunk)
            raise _already_claimed(job_id, chunk_index, claimed.chunk.worker)
        return claimed


def _result_of(future: Future[Result]) -> Result:
    """Wait for a result of the loop; raises ClientClosedError when the loop has ended without it."""
    try:
        return future.result()
    except CancelledError:
        raise _closed("the runner was closed meanwhile") from None


def _closed(message: str) -> ClientClosedError:
    return ClientClosedError(message, code=grpc.StatusCode.CANCELLED)


def _already_claimed(job_id: str, chunk_index: int, worker: str) -> ChunkNotClaimableError:
    return ChunkNotClaimableError(
        f"{worker} already works on chunk {chunk_index} of job {job_id} under the same task_id",
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason="CHUNK_NOT_CLAIMABLE",
        metadata={"job_id": job_id, "chunk_index": str(chunk_index), "state": "PROCESSING"},
    )


async def _run_attempt(
    loop_thread: LoopThread,
    claimed: ClaimedChunk,
    started: Future[tuple[Attempt, ChunkContext]],
    ended: Future[None],
    cancel_grace_seconds: float,
    on_overdue: Callable[[], object] | None,
) -> None:
    """Keep the lease until the block has ended, and report its end."""

    def block(context: ChunkContext) -> None:
        started.set_result((attempt, context))
        ended.result()

    attempt = Attempt(claimed, block, loop_thread.keeper, loop_thread.reports, cancel_grace_seconds)
    overdue = asyncio.create_task(_call_when_overdue(started, cancel_grace_seconds, on_overdue))
    try:
        await attempt.run()
    finally:
        started.cancel()  # does nothing once the block has begun
        overdue.cancel()


async def _call_when_overdue(
    started: Future[tuple[Attempt, ChunkContext]], cancel_grace_seconds: float, on_overdue: Callable[[], object] | None
) -> None:
    _, context = await asyncio.wrap_future(started)
    await context.until_cancelled()
    await asyncio.sleep(cancel_grace_seconds)
    if on_overdue is not None:
        on_overdue()
