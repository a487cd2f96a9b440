"""A question before something is changed: what will happen, why, and the button that does it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from jobledger_client import JobledgerError
from nicegui import ui

from jobledger_console import layout
from jobledger_console.components.fields import Field, show_input, show_select
from jobledger_console.components.messages import show_button, show_heading
from jobledger_console.wording import sentence_of

if TYPE_CHECKING:
    from jobledger_console.page import Page

MAX_REASON: Final = 1_024

Values: TypeAlias = Mapping[str, str]
"""What the fields of a dialog hold, by name, without space at the ends; `reason` is always there."""
Act: TypeAlias = Callable[[Values], Awaitable[str]]
"""Makes the change, and returns the sentence that says so. Raises InvalidFieldValueError or JobledgerError."""


class InvalidFieldValueError(ValueError):
    """A field of a dialog breaks its rule; the message is for people."""


class Dialog:
    """A dialog that closes when `act` has made the change, and shows why it could not. Escape cancels it."""

    def __init__(
        self, page: "Page", title: str, verb: str, act: Act, *, sentences: Sequence[str] = (), is_danger: bool = False
    ) -> None:
        self._page = page
        self._act = act
        self._is_running = False
        self._dialog: ui.dialog = ui.dialog()
        self._dialog.on("hide", lambda _: self._dialog.delete())
        self._dialog.props["aria-label"] = title
        with self._dialog, ui.element("form").classes("dialog") as form:
            show_heading(title)
            for sentence in sentences:
                ui.label(sentence).classes("sentence")
            self._fields = ui.element("div").classes("dialog-fields")
            self._error = ui.label("").classes("dialog-error")
            self._error.props["role"] = "alert"
            with ui.element("div").classes("row-of dialog-buttons"):
                show_button("Cancel", self._dialog.close)
                button = ui.element("button").classes(f"button {'danger' if is_danger else 'primary'}")
                button.props["type"] = "submit"
                with button:
                    ui.label(verb).classes("inline")
        form.on("submit", lambda event: self._submit(event.args), js_handler=_SUBMIT)

    def add_input(
        self, name: str, label: str, value: str = "", *, placeholder: str = "", max_length: int = 1_024
    ) -> None:
        """Add a line of text."""
        with self._fields:
            self._named(name, show_input(label, value, placeholder=placeholder, size=44, max_length=max_length))

    def add_select(self, name: str, label: str, options: Mapping[str, str], value: str) -> None:
        """Add a choice; `options` are labels by value."""
        with self._fields:
            self._named(name, show_select(label, options, value))

    def open(self) -> None:
        """Show it, with a field for the reason below the others."""
        self.add_input("reason", "Reason, for the audit trail", max_length=MAX_REASON)
        self._dialog.open()

    def _named(self, name: str, field: Field) -> None:
        field.input.props["name"] = name

    def _submit(self, values: Mapping[str, Any]) -> None:
        if not self._is_running:
            self._is_running = True
            given = {name: str(value).strip() for name, value in values.items()}
            self._page.spawn(self._run(given))

    async def _run(self, values: Values) -> None:
        try:
            done = await self._act(values)
        except InvalidFieldValueError as error:
            self._show(str(error))
        except JobledgerError as error:
            self._show(sentence_of(error))
        else:
            self._dialog.close()
            layout.notify(done)

    def _show(self, problem: str) -> None:
        self._is_running = False
        self._error.set_text(problem)


_SUBMIT: Final = """(e) => {
  e.preventDefault();
  emit(Object.fromEntries(new FormData(e.target)));
}"""
