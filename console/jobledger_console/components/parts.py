"""A part of a page that is drawn again when what it shows has changed, and only then."""

from collections.abc import Callable

from nicegui import ui


class Part:
    """A place; what was drawn last stays, with the focus and all that people opened, while it is still true."""

    def __init__(self, classes: str = "") -> None:
        self.place = ui.element("div").classes(classes)
        self._shown: object = None

    def show(self, shown: object, draw: Callable[[], object]) -> None:
        """Draw in the place, unless `shown`, a value of all that is drawn, is equal to that of the last time."""
        if shown == self._shown:
            return
        self._shown = shown
        self.place.clear()
        with self.place:
            draw()
