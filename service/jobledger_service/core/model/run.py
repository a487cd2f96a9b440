"""How far a job of the service's own has come: where each chunk goes on, and what its report says."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from msgspec import Struct as MsgStruct
from msgspec import field
from msgspec.structs import replace

MAX_REPORTED: Final = 100
"""As many refusals, or failures, does a report name one by one."""

RunCursor = tuple[int | str, ...]


class RunState(MsgStruct, frozen=True):
    """Written in the transaction of each step, so that what was done and where to go on never differ.

    `cursors` are by chunk; `reported` are the first refusals or failures, each as names and values for the report.
    """

    cursors: Mapping[int, RunCursor] = field(default_factory=lambda: MappingProxyType({}))
    counts: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    reported: Sequence[Mapping[str, str]] = ()

    def with_cursor(self, index: int, cursor: RunCursor) -> "RunState":
        """Return the run with a chunk's new place."""
        return replace(self, cursors={**self.cursors, index: cursor})

    def plus(self, **counts: int) -> "RunState":
        """Return the run with these added to its counts."""
        return replace(self, counts={**self.counts, **{n: self.counts.get(n, 0) + more for n, more in counts.items()}})

    def with_reports(self, *reports: Mapping[str, str]) -> "RunState":
        """Return the run with more to tell, as far as there is room."""
        return replace(self, reported=(*self.reported, *reports)[:MAX_REPORTED])


NEW_RUN: Final = RunState()
