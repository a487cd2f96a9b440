"""An open page: its visitor, its watches and reads, and its tasks."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlencode

from fastapi import Request
from jobledger_client import AsyncJobClient, JobledgerError, UnauthenticatedError
from nicegui import Client, ui

from jobledger_console.backends import Access, Backend
from jobledger_console.components.messages import show_empty, show_error
from jobledger_console.elements import notify_error, show_loading
from jobledger_console.reads import SharedRead
from jobledger_console.sessions import Session
from jobledger_console.settings import Settings
from jobledger_console.sign_in import sign_in_address
from jobledger_console.streams import Listener, Model, Open, SharedStream

logger = logging.getLogger("jobledger_console")

Value = TypeVar("Value")
Build = Callable[["Page"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class PageKind:
    """A page of the console: its path, its title, and the function that fills it.

    One with a `label` is in the navigation; `for_admins` only for administrators. `path` may have parameters in braces,
    which are in `Page.parameters`.
    """

    path: str
    title: str
    build: Build = field(repr=False)
    label: str = ""
    for_admins: bool = False


class Page:
    """An open page. What it follows ends with it."""

    def __init__(self, kind: PageKind, session: Session, settings: Settings, request: Request) -> None:
        self.kind = kind
        self.session = session
        self.settings = settings
        self.path: str = request.url.path.removeprefix(settings.root_path)
        self.query: Mapping[str, str] = dict(request.query_params)
        self.parameters: Mapping[str, str] = dict(request.path_params)
        self.streams: list[SharedStream] = []
        self.reads: list[SharedRead[Any]] = []
        self._ends: dict[SharedRead[Any], ExitStack] = {}
        self._stack = AsyncExitStack()
        self._tasks: set[asyncio.Task[None]] = set()
        self._client: Client = ui.context.client
        self.body: ui.element = self._client.content
        """Where the page itself is drawn."""

    @property
    def backend(self) -> Backend:
        """The server as the session's key sees it."""
        return self.session.backend

    @property
    def client(self) -> AsyncJobClient:
        """The SDK's client, with the session's key."""
        return self.backend.client

    @property
    def access(self) -> Access:
        """What the session's key may do."""
        return self.backend.access

    @property
    def owner(self) -> str:
        """Whose jobs, limits and figures the page shows; empty for the key's own."""
        return self.query.get("owner", "")

    def address(self, path: str, **query: str) -> str:
        """Return the address of a page of the console; empty values are left out."""
        parameters = {name: value for name, value in query.items() if value}
        return self.settings.root_path + path + (f"?{urlencode(parameters)}" if parameters else "")

    def show_address(self, **query: str) -> None:
        """Put another query into the browser's address bar; only its Back button loads the page again."""
        self.query = {name: value for name, value in query.items() if value}
        address = self.address(self.path, **self.query)
        self._client.run_javascript(f"history.pushState(null, '', {json.dumps(address)})")

    def open(self, path: str, **query: str) -> None:
        """Lead the browser to another page."""
        # NiceGUI adds the root path.
        self._client.open(self.address(path, **query).removeprefix(self.settings.root_path))

    async def follow(
        self,
        question: Hashable,
        open_watch: Open,
        listener: Listener,
        make_model: Callable[[], Model | None] = lambda: None,
    ) -> SharedStream:
        """Hear a watch, which pages with equal questions share, with its model, until the page closes."""
        following = self.backend.streams.follow(question, open_watch, listener, make_model)
        stream = await self._stack.enter_async_context(following)
        self.streams.append(stream)
        return stream

    def read(
        self,
        question: Hashable,
        read: Callable[[], Awaitable[Value]],
        *,
        seconds: float,
        listener: Callable[[], None],
    ) -> SharedRead[Value]:
        """Read each `seconds`, once for all pages with equal questions, until the page closes.

        `listener` is called after each read, also after one that failed; it draws in the page.
        """
        following = self.backend.reads.follow(question, read, seconds=seconds, listener=self._drawing(listener))
        end = self._stack.enter_context(ExitStack())
        shared = end.enter_context(following)
        self.reads.append(shared)
        self._ends[shared] = end
        return shared

    def stop_reading(self, shared: SharedRead[Any]) -> None:
        """End one read."""
        self.reads.remove(shared)
        self._ends.pop(shared).close()

    async def unfollow_all(self) -> None:
        """End the watches and reads of the page, before it starts others."""
        self.streams.clear()
        self.reads.clear()
        self._ends.clear()
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()

    def every(self, seconds: float, draw: Callable[[], object]) -> None:
        """Call a function again and again while the page is open."""
        ui.timer(seconds, draw)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the page until it is done or the page closes; a failed call is shown as a notification."""
        task = asyncio.create_task(self._guard(work), name=f"page {self.path}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def leave(self) -> None:
        """Lead the browser to the form: the session has ended."""
        following = self.address(self.path, **self.query).removeprefix(self.settings.root_path)
        self._client.open(sign_in_address("", following))

    async def run(self, content: ui.element) -> None:
        """Fill the page. An error of a call is shown in it."""
        self._client.run_javascript("window.onpopstate = () => location.reload()")
        with content:
            self.body = ui.element("div").classes("page-body")
            loading = show_loading()
        with self.body:
            try:
                await self.kind.build(self)
            except JobledgerError as error:
                self.show_failure(error)
            except Exception:
                logger.exception("a page failed")
                self.body.clear()
                show_empty("This page has failed", "The reason is in the log of the console.")
        loading.delete()

    def show_failure(self, error: JobledgerError) -> None:
        """Show an error in place of the content; without a valid key, go to the sign-in form."""
        if isinstance(error, UnauthenticatedError):
            self.leave()
            return
        self.body.clear()
        with self.body:
            show_error(error, retry=lambda: self._client.run_javascript("location.reload()"))

    async def close(self) -> None:
        """End all that the page follows and runs."""
        self.session.pages.pop(self._client.id, None)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.unfollow_all()

    def _drawing(self, draw: Callable[[], None]) -> Callable[[], None]:
        slot = ui.context.slot

        def call() -> None:
            if not self._client.is_deleted:
                with slot:
                    draw()

        return call

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            with self._client:
                await work
        except JobledgerError as error:
            with self._client:
                notify_error(error)
        except Exception:
            logger.exception("a task of a page failed")
