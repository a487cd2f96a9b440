"""What a page shows of a value that is read again and again, as there is no watch for it."""

from collections.abc import Awaitable, Callable, Hashable
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from jobledger_client import UnauthenticatedError
from nicegui import ui

from jobledger_console.components.messages import show_error
from jobledger_console.page import Page

if TYPE_CHECKING:
    from jobledger_console.reads import SharedRead

Value = TypeVar("Value")

_TELL_VISIBILITY: Final = """
if (!window.tellsVisibility) {
  window.tellsVisibility = true;
  document.addEventListener('visibilitychange', () => emitEvent('visibility', !document.hidden));
}
"""


class Reading(Generic[Value]):
    """Reads and draws while the page is open and visible; pages with equal questions share the reads.

    `draw` is called in a place of its own, which is empty at first, with each value. Before the first, the place shows
    that it is loading, or why it cannot.
    """

    def __init__(self, page: Page, draw: Callable[[Value], None], *, seconds: float) -> None:
        self._page = page
        self._draw = draw
        self._seconds = seconds
        self._question: tuple[Hashable, Callable[[], Awaitable[Value]]] | None = None
        self._shared: SharedRead[Value] | None = None
        self._is_empty = True
        self._place = ui.element("div")
        with self._place:
            ui.label("Loading …").classes("quiet loading")
        ui.on("visibility", lambda event: self._start() if event.args else self._stop())
        ui.context.client.run_javascript(_TELL_VISIBILITY)

    def ask(self, question: Hashable, read: Callable[[], Awaitable[Value]]) -> None:
        """Read this from now on; what is shown stays until it is read."""
        self._stop()
        self._question = question, read
        self._start()

    def refresh(self) -> None:
        """Read again now, as after a change."""
        if self._shared is not None:
            self._shared.refresh()

    def _start(self) -> None:
        if self._question is None or self._shared is not None:
            return
        question, read = self._question
        with self._place:
            self._shared = self._page.read(question, read, seconds=self._seconds, listener=self._listen)

    def _stop(self) -> None:
        if self._shared is not None:
            self._page.stop_reading(self._shared)
            self._shared = None

    def _listen(self) -> None:
        shared = self._shared
        if shared is None:
            return
        if isinstance(shared.error, UnauthenticatedError):
            self._page.leave()
        elif shared.error is not None and self._is_empty:
            self._place.clear()
            show_error(shared.error, retry=shared.refresh)
        elif shared.error is None and shared.value is not None:
            if self._is_empty:
                self._is_empty = False
                self._place.clear()
            self._draw(shared.value)
