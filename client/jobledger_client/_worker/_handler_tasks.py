"""Tracks the tasks that handlers start, and keeps a SystemExit in one of them from ending the worker."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from typing import Any, TypeAlias
from weakref import WeakSet

TaskFactory: TypeAlias = Callable[..., "asyncio.Future[Any]"]


class HandlerExit(Exception):  # noqa: N818 - named after SystemExit
    """A handler, or a task that it started, raised SystemExit or KeyboardInterrupt, which would end the process."""


class HandlerTasks:
    """The tasks of one call of a handler: its own and those that it started. `name` names the handler."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind = kind
        self.name = name
        self._tasks: WeakSet[asyncio.Future[Any]] = WeakSet()

    def add(self, task: "asyncio.Future[Any]") -> None:
        """Add a task."""
        self._tasks.add(task)

    def __contains__(self, task: object) -> bool:
        return task in self._tasks

    def running(self) -> "list[asyncio.Future[Any]]":
        """Return the tasks that still run."""
        return [task for task in self._tasks if not task.done()]


OWNER: ContextVar[HandlerTasks | None] = ContextVar("jobledger_handler_tasks", default=None)


class HandlerTaskFactory:
    """A task factory for the loop on which handlers run; it leaves tasks of others unchanged."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._previous: TaskFactory | None = None

    def __enter__(self) -> None:
        self._previous = self._loop.get_task_factory()
        self._loop.set_task_factory(self._create)

    def __exit__(self, *_: object) -> None:
        if self._loop.get_task_factory() == self._create:
            self._loop.set_task_factory(self._previous)

    def _create(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Any,  # noqa: ANN401 - a coroutine, as asyncio passes it to any task factory
        /,
        **options: Any,  # noqa: ANN401 - name, context and options of later Python versions
    ) -> "asyncio.Future[Any]":
        context: Context | None = options.get("context")
        owner = OWNER.get() if context is None else context.get(OWNER)
        if owner is not None:
            work = _ExitSafeCoroutine(work)
        create = self._previous or _default_factory
        task = create(loop, work, **options)
        if owner is not None:
            owner.add(task)
        return task


def _default_factory(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Future[Any]":  # noqa: ANN401
    return asyncio.Task(work, loop=loop, **options)


class _ExitSafeCoroutine(Coroutine[Any, Any, Any]):
    """A coroutine that raises HandlerExit in place of SystemExit and KeyboardInterrupt, which end asyncio's loop."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work = work

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - cr_frame, __name__ and others that tools read
        return getattr(self._work, name)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._work.__await__()

    def send(self, value: Any) -> Any:  # noqa: ANN401 - the form of a coroutine
        try:
            return self._work.send(value)
        except (SystemExit, KeyboardInterrupt) as error:
            raise HandlerExit(f"a task of a handler raised {type(error).__name__}") from error

    def throw(self, *error: Any) -> Any:  # noqa: ANN401 - the form of a coroutine
        try:
            return self._work.throw(*error)
        except (SystemExit, KeyboardInterrupt) as ended:
            raise HandlerExit(f"a task of a handler raised {type(ended).__name__}") from ended

    def close(self) -> None:
        self._work.close()
