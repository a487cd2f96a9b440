"""Reads that pages share: a value without a watch is read once for all pages that show it."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, Generic, TypeVar

from jobledger_client import JobledgerError

Value = TypeVar("Value")


class SharedRead(Generic[Value]):
    """A value that is polled while a page shows it: `value` with its time, and the error of the last read."""

    def __init__(self, read: Callable[[], Awaitable[Value]], seconds: float) -> None:
        self._read = read
        self.seconds = seconds
        self._due = asyncio.Event()
        self.listeners: list[Callable[[], None]] = []
        self.value: Value | None = None
        self.read_at: float | None = None
        """When `value` was read, by the monotonic clock."""
        self.error: JobledgerError | None = None
        """Why the last read failed; `value` is an older one then."""
        self.task: asyncio.Task[None] | None = None

    def refresh(self) -> None:
        """Read again now."""
        self._due.set()

    def notify(self, listener: Callable[[], None]) -> None:
        """Call a listener, unless it has left meanwhile."""
        if listener in self.listeners:
            listener()

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            self._due.clear()
            try:
                self.value = await self._read()
                self.read_at, self.error = monotonic(), None
            except JobledgerError as error:
                self.error = error
            for listener in list(self.listeners):
                listener()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.seconds):
                    await self._due.wait()


class SharedReads:
    """The reads of one API key, by question."""

    def __init__(self) -> None:
        self._by_question: dict[Hashable, SharedRead[Any]] = {}

    @contextmanager
    def follow(
        self,
        question: Hashable,
        read: Callable[[], Awaitable[Value]],
        *,
        seconds: float,
        listener: Callable[[], None],
    ) -> Iterator[SharedRead[Value]]:
        """Read while the context lasts; equal questions, at any number of pages, are one read each `seconds`.

        `listener` is called after each read, and soon when there is a value already.
        """
        shared: SharedRead[Value] = self._by_question.setdefault(question, SharedRead(read, seconds))
        shared.listeners.append(listener)
        if shared.task is None:
            shared.task = asyncio.create_task(shared.run(), name=f"read {question}")
        elif shared.read_at is not None:
            asyncio.get_running_loop().call_soon(shared.notify, listener)
        try:
            yield shared
        finally:
            shared.listeners.remove(listener)
            if not shared.listeners and self._by_question.get(question) is shared:
                del self._by_question[question]
                shared.task.cancel()

    async def close(self) -> None:
        """End all reads."""
        reads = [read for read in self._by_question.values() if read.task is not None]
        self._by_question.clear()
        for read in reads:
            assert read.task is not None  # noqa: S101 - for mypy
            read.task.cancel()
        await asyncio.gather(*(read.task for read in reads if read.task is not None), return_exceptions=True)
