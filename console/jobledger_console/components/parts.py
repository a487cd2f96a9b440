"""A part of a page that is redrawn only when its content has changed."""

from collections.abc import Callable

from nicegui import ui


class Part:
    """A place on a page. While its content is unchanged, it keeps the focus and everything that people opened."""

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
