"""A dialog that asks before something is changed."""

from collections.abc import Callable

from nicegui import ui

from jobledger_console.components.messages import show_button, show_heading


class Dialog:
    """A dialog with a title, what `draw` puts into it, and buttons. It closes by Esc, and gives the focus back."""

    def __init__(self, title: str) -> None:
        self.dialog = ui.dialog(value=True)
        self.dialog.props["aria-label"] = title
        self.dialog.props["transition-duration"] = 0
        with self.dialog, ui.element("div").classes("dialog card"):
            show_heading(title)
            self.body = ui.element("div").classes("dialog-body")
            self.buttons = ui.element("div").classes("row-of dialog-buttons")
        self.dialog.on("hide", self.dialog.delete)

    def close(self) -> None:
        """Close it."""
        self.dialog.close()

    def set_buttons(self, *buttons: tuple[str, Callable[[], object], str]) -> None:
        """Show buttons: text, what a press does, and the classes; beside them one that closes the dialog."""
        self.buttons.clear()
        with self.buttons:
            for text, press, classes in buttons:
                show_button(text, press, classes=classes)
            show_button("Close", self.close)
