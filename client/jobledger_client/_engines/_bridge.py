"""Carries cancellation from the ledger to an outside engine: it stops the engine's tasks of jobs that are to stop."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from math import inf
from random import random
from typing import TypeAlias

import grpc
from jobledger.v1.chunk_pb2 import Chunk, ChunkState
from jobledger.v1.job_pb2 import Job, JobState
from jobledger.v1.job_service_pb2 import WatchJobsResponse, WatchMessageType

from jobledger_client._async._client import AsyncJobClient
from jobledger_client._async._engine_task import AsyncEngineTask
from jobledger_client._channel import ChannelOptions
from jobledger_client._engines._callbacks import call
from jobledger_client._errors import JobNotFoundError
from jobledger_client._metadata import MetadataSource
from jobledger_client._retry import Backoff
from jobledger_client._runnable import Runnable
from jobledger_client._worker._outbox import PASSING

logger = logging.getLogger("jobledger_client.engine")

_TRIES = 5
_PROCESSING = ChunkState.CHUNK_STATE_PROCESSING
_CANCELLED = ChunkState.CHUNK_STATE_CANCELLED
_SNAPSHOT = WatchMessageType.WATCH_MESSAGE_TYPE_SNAPSHOT
_DELETED = WatchMessageType.WATCH_MESSAGE_TYPE_DELETED
_LEFT = WatchMessageType.WATCH_MESSAGE_TYPE_LEFT
_ENDED_EARLY = (JobState.JOB_STATE_CANCELLED, JobState.JOB_STATE_FAILED)


@dataclass(frozen=True, slots=True)
class TaskToStop:
    """A task of the engine whose job is to stop; `reason` is what CancelJob was told, empty when nothing."""

    job_id: str
    chunk_index: int
    task_id: str
    worker: str
    reason: str


StopTask: TypeAlias = Callable[[TaskToStop], Awaitable[bool | None] | bool | None]


class CancelBridge(Runnable):
    """Watches for jobs that are to stop, and calls `stop_task` for each task_id that works on one of their chunks.

    That is: the job is cancelled (also with `force`), deleted, or failed at once by its policy FAIL_FAST. `stop_task`
    may be `async def` or plain; a plain one is called on a thread. It answers True when the task runs no longer: its
    chunk is then given back at once, so that the job need not wait for its grace period. It is called again when it
    raises, five times in all, and may be called again for a task that it has stopped.

    `kinds` are the kinds to watch, all when empty. `on_cursor` is called with the place up to which all has been done;
    given as `cursor`, a later bridge goes on from there, and misses no cancellation that came between. The rest is as
    in AsyncJobClient.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:7070",
        *,
        stop_task: StopTask,
        kinds: Iterable[str] = (),
        cursor: bytes = b"",
        on_cursor: Callable[[bytes], object] | None = None,
        api_key: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: MetadataSource = None,
        options: ChannelOptions = (),
    ) -> None:
        super().__init__()
        self._open_client = partial(
            AsyncJobClient, target, api_key=api_key, credentials=credentials, metadata=metadata, options=options
        )
        self._stop_task = stop_task
        self._kinds = tuple(kinds)
        self._cursor = cursor
        self._on_cursor = on_cursor
        self._backoff = Backoff(initial=0.2, ceiling=5.0)
        self._working: dict[str, dict[int, Chunk]] = {}
        self._stopped: dict[str, set[tuple[int, str]]] = {}  # so that each message need not stop them again

    async def serve(self) -> None:
        """Carry cancellations until `stop`. Raises the JobledgerError of a watch that no waiting cures."""
        self._loop = asyncio.get_running_loop()
        async with self._open_client() as client:
            watching = asyncio.create_task(self._watch(client), name="cancel bridge")
            stop = asyncio.create_task(self._stopping.wait(), name="stop")
            await asyncio.wait({watching, stop}, return_when=asyncio.FIRST_COMPLETED)
            for task in (watching, stop):
                task.cancel()
            await asyncio.gather(watching, stop, return_exceptions=True)
            if not watching.cancelled() and (error := watching.exception()) is not None:
                raise error

    async def _watch(self, client: AsyncJobClient) -> None:
        messages = client.watch_jobs(
            kinds=self._kinds,
            states=["QUEUED", "RUNNING", "CANCELLING"],  # the snapshots need no job that has ended
            cursor=self._cursor,
            mode="EVERY",
            bookmarks=True,
            patience=inf,
        )
        async with messages:
            async for message in messages:
                if message.HasField("job"):
                    await self._hear_in_the_end(client, message)
                if messages.cursor and self._on_cursor is not None:
                    self._on_cursor(messages.cursor)

    async def _hear_in_the_end(self, client: AsyncJobClient, message: WatchJobsResponse) -> None:
        failures = 0
        while True:
            try:
                return await self._hear(client, message)
            except PASSING as error:
                failures += 1
                wait = self._backoff.wait(failures, error, random)
                logger.warning("could not read job %s, trying again in %.1f s: %s", message.job.job_id, wait, error)
            await asyncio.sleep(wait)

    async def _hear(self, client: AsyncJobClient, message: WatchJobsResponse) -> None:
        job_id = message.job.job_id
        working = self._working.setdefault(job_id, {})
        if message.type == _SNAPSHOT and message.job.state == JobState.JOB_STATE_RUNNING:
            working.update({chunk.index: chunk async for chunk in _with_task(client, job_id, _PROCESSING)})
        for chunk in message.chunks:
            if chunk.state == _PROCESSING and chunk.task_id:
                working[chunk.index] = chunk
            elif chunk.state != _CANCELLED:
                working.pop(chunk.index, None)
        for chunk in await self._affected(client, message):
            await self._carry(client, message.job, chunk)
        if message.type in (_DELETED, _LEFT):
            self._working.pop(job_id, None)
            self._stopped.pop(job_id, None)

    async def _affected(self, client: AsyncJobClient, message: WatchJobsResponse) -> list[Chunk]:
        """Return the chunks whose tasks are to stop. Those known from memory may be gone from the ledger already."""
        job = message.job
        known = self._working.get(job.job_id, {})
        if message.type == _DELETED or not job.state:  # gone, with its chunks
            return list(known.values())
        if job.state == JobState.JOB_STATE_CANCELLING:
            state = _PROCESSING
        elif job.state in _ENDED_EARLY and job.chunks_summary.cancelled:
            state = _CANCELLED
        else:
            return []
        found = {chunk.index: chunk async for chunk in _with_task(client, job.job_id, state)}
        return list((found if state == _PROCESSING else known | found).values())

    async def _carry(self, client: AsyncJobClient, job: Job, chunk: Chunk) -> None:
        stopped = self._stopped.setdefault(job.job_id, set())
        if (chunk.index, chunk.task_id) in stopped:
            return
        stopped.add((chunk.index, chunk.task_id))
        task = TaskToStop(job.job_id, chunk.index, chunk.task_id, chunk.worker, job.cancel_reason)
        if await self._stop(task) and job.state == JobState.JOB_STATE_CANCELLING:
            ended = AsyncEngineTask(client, job.job_id, chunk.index, task_id=chunk.task_id, worker=chunk.worker)
            await ended.release("the engine has stopped its task")

    async def _stop(self, task: TaskToStop) -> bool:
        """Have the engine stop its task; tell whether it has."""
        for failures in range(1, _TRIES + 1):
            try:
                return bool(await call(self._stop_task, task))
            except Exception:
                if failures == _TRIES:
                    logger.exception("gave up to stop the task %s of job %s", task.task_id, task.job_id)
                    break
                wait = self._backoff.wait(failures, None, random)
                logger.warning("could not stop the task %s, trying again in %.1f s", task.task_id, wait, exc_info=True)
            await asyncio.sleep(wait)
        return False


async def _with_task(client: AsyncJobClient, job_id: str, state: ChunkState.ValueType) -> AsyncIterator[Chunk]:
    """Yield the job's chunks in this state that an engine works on, or did; none of a job that is gone."""
    try:
        async for chunk in client.list_chunks(job_id, states=[state], page_size=1_000):
            if chunk.task_id:
                yield chunk
    except JobNotFoundError:
        return
