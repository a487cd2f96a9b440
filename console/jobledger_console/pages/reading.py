"""What a page shows of a value that is read again and again, as there is no watch for it."""

from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from jobledger_client import UnauthenticatedError
from nicegui import ui

from jobledger_console.components.fields import show_input
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

    `draw` is called in a place of its own, which is empty at first, with each value. The place is grey while another
    question has no answer yet. A message is there in its stead before the first value, and when there is no answer.
    """

    def __init__(self, page: Page, draw: Callable[[Value], None], *, seconds: float) -> None:
        self._page = page
        self._draw = draw
        self._seconds = seconds
        self._question: tuple[Hashable, Callable[[], Awaitable[Value]]] | None = None
        self._shared: SharedRead[Value] | None = None
        self._message = ui.element("div")
        with self._message:
            ui.label("Loading …").classes("quiet loading")
        self._place = ui.element("div").classes("reading")
        ui.on("visibility", lambda event: self._start() if event.args else self._stop())
        ui.context.client.run_javascript(_TELL_VISIBILITY)

    def ask(self, question: Hashable, read: Callable[[str], Awaitable[Value]]) -> None:
        """Read this from now on. `read` gets the owner that the page shows, who is a part of the question."""
        self._stop()
        owner = self._page.owner
        self._question = (owner, question), partial(read, owner)
        self._place.classes("stale")
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
        elif shared.value is None and shared.error is not None:
            self._place.set_visibility(False)
            self._message.clear()
            with self._message:
                show_error(shared.error, retry=shared.refresh)
        elif shared.error is None and shared.value is not None:
            self._message.clear()
            self._place.set_visibility(True)
            self._place.classes(remove="stale")
            self._draw(shared.value)


def show_owner(page: Page, on_change: Callable[[str], object]) -> None:
    """Let administrators say whose matters a page shows; `on_change` puts the owner into its address and asks again."""
    if page.access.is_admin:
        show_input("Owner", page.owner, lambda text: on_change(text.strip()), placeholder="own", size=10)
