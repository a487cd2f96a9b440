"""Celery tasks that work on chunks: the outcome of the task is the outcome of the attempt."""

import logging
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, TypeAlias, Unpack

from billiard.exceptions import Terminated, TimeLimitExceeded
from billiard.pool import soft_timeout_sighandler
from celery import Celery, Task
from celery.exceptions import Ignore, Retry

from jobledger_client._connection import ConnectionOptions
from jobledger_client._engines._runner import EngineRunner
from jobledger_client._error_groups import NotFoundError
from jobledger_client._generated._errors import ChunkNotClaimableError
from jobledger_client._worker._context import ChunkContext
from jobledger_client._worker._handlers import check_has_run, check_plain
from jobledger_client.celery._dispatching import CeleryDispatcher
from jobledger_client.celery._names import TASK_NAME_PREFIX

logger = logging.getLogger("jobledger_client.celery")

_TIME_LIMIT_SHARE = 0.9  # Celery measures a task from a little earlier

Function: TypeAlias = Callable[[ChunkContext], object]


class ChunkTasks:
    """The Celery tasks of one app that work on chunks, by kind.

    `lease_duration`, 1 s to 24 h, is how long a worker that died keeps its chunk; a running task sends heartbeats each
    `heartbeat_interval`, None means a third of `lease_duration`. A stream reports cancellations at once. `cancel_grace`
    is how long a task has after `ctx.cancelled` before SoftTimeLimitExceeded is raised in it. For the other
    parameters see AsyncJobClient.

    It opens no connection before the first task runs, so that a module may be imported before Celery forks.
    """

    def __init__(
        self,
        app: Celery,
        target: str = "127.0.0.1:7070",
        *,
        lease_duration: timedelta = timedelta(seconds=30),
        heartbeat_interval: timedelta | None = None,
        cancel_grace: timedelta = timedelta(seconds=5),
        **connection: Unpack[ConnectionOptions],
    ) -> None:
        self._app = app
        self._cancel_grace = cancel_grace
        self._runner = EngineRunner(
            target, lease_duration=lease_duration, heartbeat_interval=heartbeat_interval, **connection
        )
        self._open_dispatcher = partial(CeleryDispatcher, app, target, **connection)
        self._tasks: dict[str, Task] = {}
        app.add_defaults({"worker_send_task_events": True})  # report lost workers to the dispatcher

    def task(self, kind: str, **options: Any) -> Callable[[Function], Task]:  # noqa: ANN401 - Celery's own options
        """Bind the decorated function, which takes a ChunkContext, to the chunks of a kind.

        `options` are those of Celery's own `task`: queue, time_limit, soft_time_limit, rate_limit, acks_late and so on.
        A return completes the chunk, an exception fails the attempt; docs/celery.md has the other outcomes. Raises
        ValueError for a kind that has a task, and TypeError for an `async def` or a generator function.
        """
        if kind in self._tasks:
            raise ValueError(f"kind must have one task; {kind!r} has one already")

        def bind(function: Function) -> Task:
            check_plain(function)

            def run(task: Task, job_id: str, chunk_index: int) -> None:
                self._run(task, function, job_id, chunk_index)

            defaults = {"name": TASK_NAME_PREFIX + kind, "ignore_result": True, "bind": True}
            self._tasks[kind] = self._app.task(**defaults | options)(run)
            return self._tasks[kind]

        return bind

    def dispatcher(self, *, max_queued: int = 100, push_timeout: timedelta = timedelta(seconds=60)) -> CeleryDispatcher:
        """Return the dispatcher, which sends Celery a task for each pending chunk; `run` it in a process of its own.

        At most `max_queued` tasks wait in Celery's queues. A task that has not begun `push_timeout` after it was sent
        is sent again. Raises ValueError without tasks.
        """
        return self._open_dispatcher(tasks=self._tasks, max_queued=max_queued, push_timeout=push_timeout)

    def _run(self, task: Task, function: Function, job_id: str, chunk_index: int) -> None:
        """Run a task of Celery as an attempt, and end it for Celery as it ended in the ledger."""
        context: ChunkContext | None = None
        began = time.monotonic()
        try:
            with self._runner.attempt(
                job_id,
                chunk_index,
                task_id=task.request.id,
                on_overdue=_interrupt_of_this_thread(),
                cancel_grace=self._cancel_grace,
            ) as context:
                _call(task, function, context, began)
        except BaseException as error:
            if context is None and isinstance(error, ChunkNotClaimableError | NotFoundError):
                logger.info("the task %s has no chunk to work on: %s", task.request.id, error)
                raise Ignore from error
            if isinstance(error.__cause__, Retry | SystemExit):
                raise error.__cause__ from None
            if context is not None and context.cancelled:
                raise Ignore from error
            raise
        if context.cancelled:
            raise Ignore


def _call(task: Task, function: Function, context: ChunkContext, began: float) -> None:
    """Call the function; the exceptions that Celery raises for control flow become errors of the work."""
    try:
        returned = function(context)
    except Retry as retry:
        raise retry.exc or RuntimeError(str(retry)) from retry
    except SystemExit as ended:  # Celery's signal to this process
        limit = (task.request.timelimit or (None,))[0] or task.time_limit
        if limit and time.monotonic() - began >= limit * _TIME_LIMIT_SHARE:
            raise TimeLimitExceeded(limit) from ended
        raise Terminated("a signal ended the process during the task") from ended
    check_has_run(returned)


def _interrupt_of_this_thread() -> Callable[[], None] | None:
    """Return a function that raises SoftTimeLimitExceeded in the task on this thread; None where Celery cannot."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGUSR1) is not soft_timeout_sighandler:
        return None
    return partial(signal.pthread_kill, threading.get_ident(), signal.SIGUSR1)
