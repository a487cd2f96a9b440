"""Propagates cancellation from the ledger to an external engine: it stops the engine's tasks of jobs that must stop."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from random import random
from typing import TypeAlias, Unpack

from jobledger.v1.chunk_pb2 import Chunk
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import WatchJobsResponse

from jobledger_client._async._client import AsyncJobClient
from jobledger_client._async._engine_task import AsyncEngineTask
from jobledger_client._connection import ConnectionOptions
from jobledger_client._engines._callbacks import call
from jobledger_client._generated._enums import ChunkState, JobState, WatchMessageType, WatchMode
from jobledger_client._generated._errors import JobNotFoundError
from jobledger_client._retry import Backoff
from jobledger_client._runnable import Runnable
from jobledger_client._worker._transient import repeat_transient

logger = logging.getLogger("jobledger_client.engine")

_MAX_ATTEMPTS = 5
_PROCESSING = ChunkState.PROCESSING
_CANCELLED = ChunkState.CANCELLED
_SNAPSHOT = WatchMessageType.SNAPSHOT
_DELETED = WatchMessageType.DELETED
_LEFT = WatchMessageType.LEFT
_ENDED_EARLY = (JobState.CANCELLED, JobState.FAILED)


@dataclass(frozen=True, slots=True)
class TaskToStop:
    """A task of the engine whose job must stop; `reason` is that of CancelJob, empty without one."""

    job_id: str
    chunk_index: int
    task_id: str
    worker: str
    reason: str


StopTask: TypeAlias = Callable[[TaskToStop], Awaitable[bool | None] | bool | None]


class CancelBridge(Runnable):
    """Watches for jobs that must stop, and calls `stop_task` for each task_id that works on one of their chunks.

    A job must stop when it is cancelled (also with `force`), deleted, or failed by its policy FAIL_FAST. `stop_task`
    may be `async def` or plain; a plain one runs on a thread. It returns True when the task no longer runs: the bridge
    then releases the chunk at once, so that the job need not wait for its grace period. When it raises, it is called
    again, five times in total; it may also be called again for a task that it has stopped.

    `kinds` are the kinds to watch, all when empty. `on_cursor` is called with the cursor up to which all stops are
    done; a later bridge with this `cursor` misses no cancellation in between. For the other parameters see
    AsyncJobClient.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:7070",
        *,
        stop_task: StopTask,
        kinds: Iterable[str] = (),
        cursor: bytes = b"",
        on_cursor: Callable[[bytes], object] | None = None,
        **connection: Unpack[ConnectionOptions],
    ) -> None:
        super().__init__()
        self._open_client = partial(AsyncJobClient, target, **connection)
        self._stop_task = stop_task
        self._kinds = tuple(kinds)
        self._cursor = cursor
        self._on_cursor = on_cursor
        self._backoff = Backoff(initial=timedelta(milliseconds=200))
        self._working: dict[str, dict[int, Chunk]] = {}
        self._stopped: dict[str, set[tuple[int, str]]] = {}  # so that further messages do not stop them again

    async def serve(self) -> None:
        """Propagate cancellations until `stop`. Raises the JobledgerError of a watch that is not transient."""
        self._loop = asyncio.get_running_loop()
        async with self._open_client() as client:
            await self._run_until_stopped(self._watch(client))

    async def _watch(self, client: AsyncJobClient) -> None:
        messages = client.watch_jobs(
            kinds=self._kinds,
            states=[
                JobState.QUEUED,
                JobState.RUNNING,
                JobState.CANCELLING,
            ],  # the snapshots need no jobs that have ended
            cursor=self._cursor,
            mode=WatchMode.EVERY,
            bookmarks=True,
            reconnect_timeout=None,
        )
        async with messages:
            async for message in messages:
                if message.HasField("job"):
                    await repeat_transient(
                        partial(self._handle, client, message),
                        self._backoff,
                        logger,
                        f"read job {message.job.job_id}",
                    )
                if messages.cursor and self._on_cursor is not None:
                    self._on_cursor(messages.cursor)

    async def _handle(self, client: AsyncJobClient, message: WatchJobsResponse) -> None:
        job_id = message.job.job_id
        working = self._working.setdefault(job_id, {})
        if message.type == _SNAPSHOT and message.job.state == JobState.RUNNING:
            working.update({chunk.index: chunk async for chunk in _with_task(client, job_id, _PROCESSING)})
        for chunk in message.chunks:
            if chunk.state == _PROCESSING and chunk.task_id:
                working[chunk.index] = chunk
            elif chunk.state != _CANCELLED:
                working.pop(chunk.index, None)
        for chunk in await self._chunks_to_stop(client, message):
            await self._stop_chunk(client, message.job, chunk)
        if message.type in (_DELETED, _LEFT):
            self._working.pop(job_id, None)
            self._stopped.pop(job_id, None)

    async def _chunks_to_stop(self, client: AsyncJobClient, message: WatchJobsResponse) -> list[Chunk]:
        """Return the chunks whose tasks must stop. The ledger may no longer have those of earlier messages."""
        job = message.job
        known = self._working.get(job.job_id, {})
        if message.type == _DELETED or not job.state:  # deleted with its chunks
            return list(known.values())
        if job.state == JobState.CANCELLING:
            state = _PROCESSING
        elif job.state in _ENDED_EARLY and job.chunks_summary.cancelled:
            state = _CANCELLED
        else:
            return []
        current = {chunk.index: chunk async for chunk in _with_task(client, job.job_id, state)}
        return list((current if state == _PROCESSING else known | current).values())

    async def _stop_chunk(self, client: AsyncJobClient, job: Job, chunk: Chunk) -> None:
        stopped = self._stopped.setdefault(job.job_id, set())
        if (chunk.index, chunk.task_id) in stopped:
            return
        stopped.add((chunk.index, chunk.task_id))
        task = TaskToStop(job.job_id, chunk.index, chunk.task_id, chunk.worker, job.cancel_reason)
        if await self._call_stop_task(task) and job.state == JobState.CANCELLING:
            ended = AsyncEngineTask(client, job.job_id, chunk.index, task_id=chunk.task_id, worker=chunk.worker)
            await ended.release("the engine has stopped its task")

    async def _call_stop_task(self, task: TaskToStop) -> bool:
        """Stop a task of the engine; return whether it no longer runs."""
        for failures in range(1, _MAX_ATTEMPTS + 1):
            try:
                return bool(await call(self._stop_task, task))
            except Exception:
                if failures == _MAX_ATTEMPTS:
                    logger.exception("could not stop the task %s of job %s; giving up", task.task_id, task.job_id)
                    break
                wait = self._backoff.wait(failures, None, random)
                logger.warning("could not stop the task %s; next attempt in %.1f s", task.task_id, wait, exc_info=True)
            await asyncio.sleep(wait)
        return False


async def _with_task(client: AsyncJobClient, job_id: str, state: ChunkState) -> AsyncIterator[Chunk]:
    """Yield the job's chunks in this state that have a task of an engine; none for a job that does not exist."""
    try:
        async for chunk in client.list_chunks(job_id, states=[state], page_size=1_000):
            if chunk.task_id:
                yield chunk
    except JobNotFoundError:
        return
