"""A dialog with fields, a reason, and a button that makes the change."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from jobledger_client import JobledgerError
from nicegui import ui

from jobledger_console import elements
from jobledger_console.components.dialogs import Dialog
from jobledger_console.components.fields import Field, show_input, show_select
from jobledger_console.components.messages import show_button
from jobledger_console.jobs.verbs import MAX_REASON
from jobledger_console.wording import sentence_of

if TYPE_CHECKING:
    from jobledger_console.page import Page

Values: TypeAlias = Mapping[str, str]
"""What the fields hold, by name, without space at the ends; `reason` is always there."""
Act: TypeAlias = Callable[[Values], Awaitable[str]]
"""Makes the change, and returns the sentence that says so. Raises InvalidFieldValueError or JobledgerError."""


class InvalidFieldValueError(ValueError):
    """A field of a form breaks its rule; the message is for people."""


class Form(Dialog):
    """A dialog that closes when `act` has made the change, and shows why it could not."""

    def __init__(
        self, page: "Page", title: str, verb: str, act: Act, *, sentences: Sequence[str] = (), is_danger: bool = False
    ) -> None:
        super().__init__(title)
        self._page = page
        self._act = act
        self._is_running = False
        with self.body:
            for sentence in sentences:
                ui.label(sentence)
            self._form = ui.element("form").classes("form")
            self._error = ui.label("").classes("form-error")
            self._error.props["role"] = "alert"
        self._form.on("submit", lambda event: self._submit(event.args), js_handler=_SUBMIT)
        with self.buttons:
            button = elements.element("button", verb, classes=f"button {'danger' if is_danger else 'primary'}")
            button.props["type"] = "submit"
            button.props["form"] = self._form.html_id
            show_button("Close", self.close)

    def add_input(
        self, name: str, label: str, value: str = "", *, placeholder: str = "", max_length: int = MAX_REASON
    ) -> None:
        """Add a line of text."""
        with self._form:
            _name(name, show_input(label, value, placeholder=placeholder, size=44, max_length=max_length))

    def add_select(self, name: str, label: str, options: Mapping[str, str], value: str) -> None:
        """Add a choice; `options` are labels by value."""
        with self._form:
            _name(name, show_select(label, options, value))

    def add_reason(self) -> None:
        """Add the reason, below all other fields."""
        self.add_input("reason", "Reason, for the audit trail")

    def _submit(self, values: Mapping[str, Any]) -> None:
        if not self._is_running:
            self._is_running = True
            stripped = {name: str(value).strip() for name, value in values.items()}
            self._page.spawn(self._run(stripped))

    async def _run(self, values: Values) -> None:
        try:
            done = await self._act(values)
        except InvalidFieldValueError as error:
            self._show(str(error))
        except JobledgerError as error:
            self._show(sentence_of(error))
        else:
            self.close()
            elements.notify(done)

    def _show(self, problem: str) -> None:
        self._is_running = False
        self._error.set_text(problem)


def _name(name: str, field: Field) -> None:
    field.input.props["name"] = name


_SUBMIT: Final = """(e) => {
  e.preventDefault();
  emit(Object.fromEntries(new FormData(e.target)));
}"""
