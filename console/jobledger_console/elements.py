"""What pages draw with: an HTML element, the sign that something loads, and messages that pass."""

from jobledger_client import JobledgerError
from nicegui import ui

from jobledger_console.wording import sentence_of


def element(tag: str, text: str = "", *, classes: str = "", **attributes: str) -> ui.element:
    """Return an HTML element with text; `aria_label` is aria-label. No value is read as markup."""
    made = ui.element(tag)
    if classes:
        made.classes(classes)
    for name, value in attributes.items():
        made.props[name.strip("_").replace("_", "-")] = value
    if text:
        with made:
            ui.label(text).classes("inline")
    return made


def show_loading() -> ui.element:
    """Show that the page is being read."""
    return element("p", "Loading …", classes="quiet loading", role="status")


def notify_error(error: JobledgerError) -> None:
    """Show that a call has failed, until somebody closes it."""
    ui.notification(sentence_of(error), type="negative", close_button="Close", timeout=None, multi_line=True)


def notify(sentence: str) -> None:
    """Show that something was done."""
    ui.notification(sentence, type="info", timeout=6)
