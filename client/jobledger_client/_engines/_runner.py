"""Attempts at named chunks in an engine's own process: the engine calls plain code, and that code is the work."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Self

import grpc
from jobledger.v1.worker_service_pb2 import ClaimedChunk

from jobledger_client._async._client import AsyncJobClient
from jobledger_client._channel import ChannelOptions
from jobledger_client._engines._side import Side
from jobledger_client._errors import ChunkNotClaimableError
from jobledger_client._metadata import MetadataSource
from jobledger_client._sync._client import JobClient
from jobledger_client._worker._attempt import Attempt
from jobledger_client._worker._context import ChunkContext
from jobledger_client._worker._lease_keeper import checked_interval


class EngineRunner:
    """Runs attempts at chunks for an engine that says which: RunPod, Airflow, Celery, a cron job.

    `name` is for people and the audit trail, host and process id when None. `lease_duration` is 1 s to 24 h: how long
    the chunk of a process that died stays with it; heartbeats come each `heartbeat_interval`, a third of it when None,
    by themselves. The rest is as in AsyncJobClient. Any thread may use it, and a process that was forked may go on
    using it.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:7070",
        *,
        name: str | None = None,
        lease_duration: timedelta = timedelta(seconds=30),
        heartbeat_interval: timedelta | None = None,
        api_key: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: MetadataSource = None,
        options: ChannelOptions = (),
    ) -> None:
        self._name = name
        self._lease_duration = lease_duration
        self._heartbeat_interval = checked_interval(lease_duration, heartbeat_interval)
        how: dict[str, Any] = {"api_key": api_key, "credentials": credentials, "metadata": metadata, "options": options}
        self._open_client: Callable[[], AsyncJobClient] = partial(AsyncJobClient, target, **how)
        self._open_sync_client: Callable[[], JobClient] = partial(JobClient, target, **how)
        self._lock = threading.Lock()
        self._side: Side | None = None
        self._running: set[tuple[str, int]] = set()

    @property
    def name(self) -> str:
        """The name of this process, as others see it."""
        return self._name or f"{socket.gethostname()}-{os.getpid()}"

    @contextmanager
    def attempt(
        self,
        job_id: str,
        chunk_index: int = 0,
        *,
        task_id: str,
        overdue: Callable[[], object] | None = None,
        cancel_grace: float = 5.0,
    ) -> Iterator[ChunkContext]:
        """Lease the chunk under the engine's `task_id`, and report what becomes of the block.

        The chunk is completed when the block ends, failed when it raises (the error goes on to the engine), and given
        back when it ends after `cancelled`, or with SystemExit or KeyboardInterrupt. `overdue` is called on another
        thread when the block still runs `cancel_grace` seconds after `cancelled`, to stop it harder.

        Raises ChunkNotClaimableError when there is nothing to do: the chunk is done, cancelled, not yet due, or in
        work, also when another process was given the same `task_id`. JobNotFoundError, ChunkNotFoundError.
        """
        claimed = self._claim(job_id, chunk_index, task_id)
        ended: Future[None] = Future()
        handed: Future[tuple[Attempt, ChunkContext]] = Future()
        side = self._own_side()
        reported = side.start(_follow(side, claimed, handed, ended, cancel_grace, overdue))
        attempt, context = handed.result()
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
            reported.result()
            self._running.discard((job_id, chunk_index))

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            if self._side is not None:
                self._side.close()
                self._side = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _own_side(self) -> Side:
        with self._lock:
            if self._side is None or not self._side.is_ours:
                self._side = Side(
                    self._open_client, self._open_sync_client, self._lease_duration, self._heartbeat_interval, self.name
                )
                self._running.clear()
            return self._side

    def _claim(self, job_id: str, chunk_index: int, task_id: str) -> ClaimedChunk:
        """Lease the chunk, unless it is in work under the same task_id: engines may deliver a task twice."""
        side, chunk = self._own_side(), (job_id, chunk_index)
        with self._lock:
            if chunk in self._running:
                raise _in_work(job_id, chunk_index, self.name)
            self._running.add(chunk)
        try:
            claimed = side.start(
                side.client.leases.claim_chunk(
                    job_id, chunk_index, worker=self.name, task_id=task_id, lease_duration=self._lease_duration
                )
            ).result()
        except BaseException:
            self._running.discard(chunk)
            raise
        if claimed.chunk.worker != self.name:
            self._running.discard(chunk)
            raise _in_work(job_id, chunk_index, claimed.chunk.worker)
        return claimed


def _in_work(job_id: str, chunk_index: int, worker: str) -> ChunkNotClaimableError:
    return ChunkNotClaimableError(
        f"chunk {chunk_index} of job {job_id} is in work at {worker}, under the same task_id",
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason="CHUNK_NOT_CLAIMABLE",
        metadata={"job_id": job_id, "chunk_index": str(chunk_index), "state": "PROCESSING"},
    )


async def _follow(
    side: Side,
    claimed: ClaimedChunk,
    handed: Future[tuple[Attempt, ChunkContext]],
    ended: Future[None],
    cancel_grace: float,
    overdue: Callable[[], object] | None,
) -> None:
    """Keep the lease until the block has ended, and report it."""

    def block(context: ChunkContext) -> None:
        handed.set_result((attempt, context))
        ended.result()

    attempt = Attempt(claimed, block, side.keeper, side.reports, cancel_grace)
    telling = asyncio.create_task(_tell_overdue(handed, cancel_grace, overdue))
    try:
        await attempt.run()
    finally:
        telling.cancel()


async def _tell_overdue(
    handed: Future[tuple[Attempt, ChunkContext]], cancel_grace: float, overdue: Callable[[], object] | None
) -> None:
    _, context = await asyncio.wrap_future(handed)
    await context.until_cancelled()
    await asyncio.sleep(cancel_grace)
    if overdue is not None:
        overdue()
