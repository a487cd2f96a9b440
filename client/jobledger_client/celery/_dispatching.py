"""Sends Celery a task for each pending chunk, and reports to the ledger the losses that Celery's events report."""

import asyncio
import logging
import re
import threading
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Unpack

from celery import Celery, Task
from celery.events import EventReceiver
from jobledger.v1.chunk_pb2 import Chunk, WorkError
from jobledger.v1.job_pb2 import Job
from jobledger.v1.worker_service_pb2 import ChunkFailure

from jobledger_client._async._client import AsyncJobClient
from jobledger_client._connection import ConnectionOptions
from jobledger_client._engines._dispatcher import Dispatcher
from jobledger_client._error_groups import JobledgerError, NotFoundError
from jobledger_client._generated._errors import ChunkNotClaimableError
from jobledger_client._runnable import Runnable
from jobledger_client.celery._names import chunk_of, task_id_for

logger = logging.getLogger("jobledger_client.celery")

WORKER_NAME = "celery-dispatcher"
REVOKED = "TaskRevoked"
_LOST = re.compile(r"(?:[\w.]+\.)?(WorkerLostError|TimeLimitExceeded)\b")  # the task's process is gone
_MAX_MESSAGE_LENGTH = 4_096
_RECONNECT_SECONDS = 1.0  # after an error of the broker
_LEASE_DURATION = timedelta(seconds=10)


class CeleryDispatcher(Runnable):
    """One process beside the workers; there may be several. See ChunkTasks.dispatcher."""

    def __init__(
        self,
        app: Celery,
        target: str,
        *,
        tasks: Mapping[str, Task],
        max_queued: int,
        push_timeout: timedelta,
        **connection: Unpack[ConnectionOptions],
    ) -> None:
        super().__init__()
        if not tasks:
            raise ValueError("a dispatcher must have a task; bind one with @chunks.task(kind), and import its module")
        self._app = app
        self._tasks = tasks
        self._open_client = partial(AsyncJobClient, target, **connection)
        self._dispatcher = Dispatcher(
            target,
            kinds=tasks,
            push=self._push,
            withdraw=app.control.revoke,
            max_queued=max_queued,
            push_timeout=push_timeout,
            **connection,
        )
        self._ended = threading.Event()
        self._receiver: EventReceiver | None = None

    async def serve(self) -> None:
        """Dispatch until `stop`. It waits for an unreachable broker, and for an unreachable service."""
        self._loop = asyncio.get_running_loop()
        dispatching = asyncio.create_task(self._dispatcher.serve(), name="dispatcher")
        stop = asyncio.create_task(self._stopping.wait(), name="stop")
        async with self._open_client() as client:
            receiving = threading.Thread(target=self._receive, args=(client,), name="celery-events", daemon=True)
            receiving.start()
            try:
                await asyncio.wait({dispatching, stop}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._ended.set()
                if self._receiver is not None:
                    self._receiver.should_stop = True
                self._dispatcher.stop()
                stop.cancel()
                await dispatching

    def _push(self, job: Job, chunk: Chunk) -> str:
        task_id = task_id_for(job.job_id, chunk.index)
        self._tasks[job.kind].apply_async((job.job_id, chunk.index), task_id=task_id, retry=False)
        return task_id

    def _receive(self, client: AsyncJobClient) -> None:
        """Receive the events of Celery's workers, on a thread, as Celery's receiver blocks."""
        handlers = {"task-failed": partial(self._handle, client), "task-revoked": partial(self._handle, client)}
        while not self._ended.is_set():
            try:
                with self._app.connection_for_read() as connection:
                    receiver = EventReceiver(connection, handlers=handlers, app=self._app)
                    self._receiver = receiver
                    receiver.capture(limit=None, timeout=None, wakeup=False)
            except Exception as error:  # noqa: BLE001 - each transport of Celery has its own errors
                logger.warning(
                    "could not receive Celery's events; next attempt in %.1f s: %s", _RECONNECT_SECONDS, error
                )
                self._ended.wait(_RECONNECT_SECONDS)

    def _handle(self, client: AsyncJobClient, event: Mapping[str, Any]) -> None:
        loop, task_id = self._loop, str(event.get("uuid", ""))
        chunk, error = chunk_of(task_id), _error_in(event)
        if loop is None or chunk is None or error is None:
            return
        had_begun = error.code != REVOKED or bool(event.get("terminated"))
        asyncio.run_coroutine_threadsafe(_fail(client, *chunk, task_id, error, had_begun=had_begun), loop)


def _error_in(event: Mapping[str, Any]) -> WorkError | None:
    """Return the error of a task that could not report it; None if the task did."""
    if event["type"] == "task-revoked":
        return WorkError(code=REVOKED, message="the task was revoked in Celery")
    # Celery 5.7 has ExceptionWithTraceback() here, and the exception only in the last line of the traceback.
    lines = str(event.get("traceback") or "").strip().splitlines()
    for text in (str(event.get("exception", "")), *lines[-1:]):
        if (match := _LOST.match(text)) is not None:
            return WorkError(code=match[1], message=text[:_MAX_MESSAGE_LENGTH])
    return None


async def _fail(
    client: AsyncJobClient, job_id: str, chunk_index: int, task_id: str, error: WorkError, *, had_begun: bool
) -> None:
    """Fail the attempt of the task; if the task had not begun, claim its chunk and fail that attempt."""
    try:
        claimed = await client.leases.claim_chunk(
            job_id, chunk_index, worker=WORKER_NAME, task_id=task_id, lease_duration=_LEASE_DURATION
        )
        token, is_new = claimed.lease.token, claimed.chunk.worker == WORKER_NAME
        if is_new == had_begun:  # the attempt of the task has ended already
            await client.leases.release_chunks([token])
        else:
            await client.leases.fail_chunks([ChunkFailure(lease_token=token, error=error)])
            logger.warning("the task %s failed: %s", task_id, error.message)
    except (ChunkNotClaimableError, NotFoundError):
        return
    except JobledgerError:
        logger.exception("could not report that the task %s failed; its lease will expire", task_id)
