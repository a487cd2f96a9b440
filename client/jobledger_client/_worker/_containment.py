"""Contains what handlers start: a task of theirs that exits does not end the worker, and is not forgotten."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from typing import Any, TypeAlias
from weakref import WeakSet

TaskFactory: TypeAlias = Callable[..., "asyncio.Future[Any]"]


class HandlerExit(Exception):  # noqa: N818 - it reads as what it says
    """A handler, or a task that it started, raised SystemExit or KeyboardInterrupt, which would end the process."""


class Tasks:
    """The tasks of one call of a handler: its own and those that it started. `name` says whose they are."""

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
        """Return those that run still."""
        return [task for task in self._tasks if not task.done()]


OWNER: ContextVar[Tasks | None] = ContextVar("jobledger_handler_tasks", default=None)


class Containment:
    """A task factory for the loop on which handlers run. Tasks of others are made as before."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._before: TaskFactory | None = None

    def __enter__(self) -> None:
        self._before = self._loop.get_task_factory()
        self._loop.set_task_factory(self._make)

    def __exit__(self, *_: object) -> None:
        if self._loop.get_task_factory() == self._make:
            self._loop.set_task_factory(self._before)

    def _make(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Any,  # noqa: ANN401 - a coroutine, as asyncio gives it to any task factory
        /,
        **options: Any,  # noqa: ANN401 - name, context and what later versions of Python add
    ) -> "asyncio.Future[Any]":
        context: Context | None = options.get("context")
        owner = OWNER.get() if context is None else context.get(OWNER)
        if owner is not None:
            work = _Contained(work)
        task = asyncio.Task(work, loop=loop, **options) if self._before is None else self._before(loop, work, **options)
        if owner is not None:
            owner.add(task)
        return task


class _Contained(Coroutine[Any, Any, Any]):
    """A coroutine whose SystemExit and KeyboardInterrupt are an ordinary error: asyncio ends its loop by them."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work = work

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - cr_frame, __name__ and whatever else tools look at
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
