"""What a page shows in place of its content: an error, that there is nothing, that something is loading."""

from collections.abc import Callable

from jobledger_client import JobledgerError, NotFoundError, PermissionDeniedError, UnavailableError
from nicegui import ui

from jobledger_console.wording import sentence_of

_TITLES: tuple[tuple[type[JobledgerError], str], ...] = (
    (NotFoundError, "Not found"),
    (PermissionDeniedError, "Not permitted"),
    (UnavailableError, "Not connected"),
)


def show_error(error: JobledgerError, retry: Callable[[], object] | None = None) -> None:
    """Show why a call failed, with its request id, and a button that tries again."""
    title = next((title for kind, title in _TITLES if isinstance(error, kind)), "The server refused this")
    with ui.element("section").classes("message error") as section:
        section.props["role"] = "alert"
        show_heading(title)
        ui.label(sentence_of(error))
        if retry is not None:
            show_button("Try again", retry)


def show_empty(title: str, *hints: str) -> None:
    """Show that there is nothing, and what would be here or what to do about it."""
    with ui.element("section").classes("message empty"):
        show_heading(title)
        for hint in hints:
            ui.label(hint).classes("quiet")


def show_heading(text: str, level: int = 2) -> ui.element:
    """Show a heading."""
    with ui.element(f"h{level}") as heading:
        ui.label(text).classes("inline")
    return heading


def show_button(text: str, press: Callable[[], object], *, classes: str = "") -> ui.element:
    """Show a button; `classes` may be "primary" or "danger"."""
    button = ui.element("button").classes(f"button {classes}")
    button.props["type"] = "button"
    with button:
        ui.label(text).classes("inline")
    button.on("click", lambda _: press())
    return button
