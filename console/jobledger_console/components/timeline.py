"""The timeline of attempts: a row a worker, a bar an attempt, its outcome as colour and in words."""

from collections.abc import Callable

from nicegui import ui

from jobledger_console.jobs.timelines import Timeline


class TimelineChart(ui.element, component="timeline.js"):  # type: ignore[call-arg] # of NiceGUI
    """The chart."""

    def __init__(self, on_chunk: Callable[[int], object]) -> None:
        """`on_chunk` gets the index of the chunk of a bar that somebody opens."""
        super().__init__()
        self.props["rows"] = []
        self.props["bars"] = []
        self._shown: Timeline | None = None
        self.on("chunk", lambda event: on_chunk(int(event.args)))

    def set_timeline(self, timeline: Timeline) -> None:
        """Show attempts."""
        if timeline != self._shown:
            self._shown = timeline
            self.run_method("replace", timeline.rows, timeline.bars)
