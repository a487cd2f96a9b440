"""Watches that pages share: equal questions of one API key are one watch, however many pages ask them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol, TypeAlias

import grpc
from jobledger.v1.job_service_pb2 import WatchJobResponse, WatchJobsResponse
from jobledger_client import AsyncJobClient, InternalError, JobledgerError, Relist
from jobledger_client.cli._connection import Connection, Notice

logger = logging.getLogger("jobledger_console")

WatchMessage: TypeAlias = WatchJobResponse | WatchJobsResponse
_YIELD_AFTER: Final = 100
"""Messages after which other tasks run, too: under load the stream always has a next one."""


class Listener(Protocol):
    """A listener of a shared watch. Its methods must not block."""

    def on_message(self, message: WatchMessage) -> None:
        """Handle a message."""

    def on_relist(self) -> None:
        """Handle missed changes: list again."""

    def on_end(self, error: JobledgerError | None) -> None:
        """Handle the end of the watch, with an error or because its job has ended."""


class Model(Protocol):
    """State that the listeners of a watch share; it gets each message once, before they do."""

    def apply(self, message: WatchMessage) -> None:
        """Apply a message."""

    def miss(self) -> None:
        """Handle missed changes."""


class OpenWatch(Protocol):
    """A watch of the SDK."""

    @property
    def interruption(self) -> JobledgerError | None:
        """Why it is down; None while it is up."""

    def __aiter__(self) -> Any: ...  # noqa: ANN401 - messages of either type

    def close(self) -> None:
        """End it."""


Open: TypeAlias = Callable[[AsyncJobClient, Callable[[Relist], object]], OpenWatch]


class SharedStream:
    """A watch and its listeners."""

    def __init__(self, client: AsyncJobClient, open_watch: Open, model: Model | None = None) -> None:
        self.model = model
        self._watch = open_watch(client, self._on_relist)
        self._connection = Connection(self._watch)
        self.listeners: list[Listener] = []
        self.begun = asyncio.Event()
        """Set with the first message: a list read afterwards and this watch leave no gap."""
        self.error: JobledgerError | None = None
        self.task = asyncio.create_task(self._run(), name="shared watch")

    def notice(self) -> Notice | None:
        """Return why pages may be out of date; None while the watch is connected."""
        return None if self.task.done() else self._connection.notice()

    async def close(self) -> None:
        """End the watch."""
        self._watch.close()
        self.task.cancel()
        await asyncio.wait([self.task])

    async def _run(self) -> None:
        try:
            await self._read()
        except JobledgerError as error:
            self.error = error
        except Exception:
            logger.exception("a watch failed")
            self.error = InternalError("the console could not read a change", code=grpc.StatusCode.INTERNAL)
        self.begun.set()
        for listener in list(self.listeners):
            listener.on_end(self.error)

    async def _read(self) -> None:
        count = 0
        async for message in self._watch:
            self._connection.mark_received()
            self.begun.set()
            if self.model is not None:
                self.model.apply(message)
            for listener in list(self.listeners):
                listener.on_message(message)
            count += 1
            if count % _YIELD_AFTER == 0:
                await asyncio.sleep(0)

    def _on_relist(self, _: Relist) -> None:
        if self.model is not None:
            self.model.miss()
        for listener in list(self.listeners):
            listener.on_relist()


class SharedStreams:
    """The watches of one API key, by question."""

    def __init__(self, client: AsyncJobClient) -> None:
        self._client = client
        self._by_question: dict[Hashable, SharedStream] = {}

    def __len__(self) -> int:
        return len(self._by_question)

    @asynccontextmanager
    async def follow(
        self,
        question: Hashable,
        open_watch: Open,
        listener: Listener,
        make_model: Callable[[], Model | None] = lambda: None,
    ) -> AsyncIterator[SharedStream]:
        """Add a listener while the context lasts; the first opens the watch, the last closes it.

        `make_model` makes the model that the listeners share. The context begins when the watch has begun, so that a
        list read inside it misses nothing.
        """
        shared = self._by_question.get(question)
        if shared is None or shared.task.done():
            shared = self._by_question[question] = SharedStream(self._client, open_watch, make_model())
        shared.listeners.append(listener)
        try:
            await shared.begun.wait()
            if shared.error is not None:
                raise shared.error
            yield shared
        finally:
            shared.listeners.remove(listener)
            if not shared.listeners:
                if self._by_question.get(question) is shared:
                    del self._by_question[question]
                await shared.close()

    async def close(self) -> None:
        """End all watches."""
        watches = list(self._by_question.values())
        self._by_question.clear()
        for watch in watches:
            await watch.close()
