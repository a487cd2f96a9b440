"""The map of a job's chunks: a cell for each."""

from collections.abc import Callable
from typing import Final

from nicegui import ui

_MAX_CHANGES: Final = 2_000
"""With more, all states are shorter."""


class ChunkMap(ui.element, component="chunk_map.js"):  # type: ignore[call-arg] # of NiceGUI
    """The map. `set_states` sends only the states that changed."""

    def __init__(self, on_chunk: Callable[[int], object]) -> None:
        """`on_chunk` gets the index of a chunk that somebody opens."""
        super().__init__()
        self.props["states"] = ""
        self._shown = b""
        self.on("chunk", lambda event: on_chunk(int(event.args)))

    def set_states(self, states: bytes) -> None:
        """Show a state for each chunk."""
        if states == self._shown:
            return
        before, self._shown = self._shown, states
        if len(before) == len(states):
            changes = [
                (index, now) for index, (now, then) in enumerate(zip(states, before, strict=True)) if now != then
            ]
            if len(changes) <= _MAX_CHANGES:
                self.run_method("patch", changes)
                return
        self.run_method("replace", "".join(map(str, states)))
