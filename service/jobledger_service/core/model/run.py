"""The progress of one of the service's own jobs: its cursors and its report."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

MAX_REPORTED: Final = 100
"""The maximum number of refusals or failures that a report lists."""

RunCursor = tuple[int | str, ...]


class RunState(MsgStruct, frozen=True):
    """Progress written in the transaction of each step, so that results and cursors never differ.

    `cursors` are by chunk; `reported` are the first refusals or failures, each as names and values for the report.
    """

    cursors: dict[int, RunCursor] = {}
    counts: dict[str, int] = {}
    reported: tuple[Mapping[str, str], ...] = ()

    def with_cursor(self, index: int, cursor: RunCursor) -> "RunState":
        """Return the run with a chunk's new cursor."""
        return replace(self, cursors={**self.cursors, index: cursor})

    def plus(self, **counts: int) -> "RunState":
        """Return the run with these added to its counts."""
        return replace(self, counts={**self.counts, **{n: self.counts.get(n, 0) + more for n, more in counts.items()}})

    def with_reports(self, *reports: Mapping[str, str]) -> "RunState":
        """Return the run with more refusals or failures, up to the maximum."""
        return replace(self, reported=(*self.reported, *reports)[:MAX_REPORTED])


NEW_RUN: Final = RunState()
