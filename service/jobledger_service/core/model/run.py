"""How far a job of the service's own has come: where each chunk goes on, and what its report says."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

MOST_TOLD: Final = 100
"""As many refusals, or failures, does a report name one by one."""

Cursor = tuple[int | str, ...]


class Run(Struct, frozen=True):
    """Written in the transaction of each step, so that what was done and where to go on never differ.

    `cursors` are by chunk; `told` are the first refusals or failures, each as names and values for the report.
    """

    cursors: Mapping[int, Cursor] = field(default_factory=lambda: MappingProxyType({}))
    counts: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    told: Sequence[Mapping[str, str]] = ()

    def at(self, index: int, cursor: Cursor) -> "Run":
        """Return the run with a chunk's new place."""
        return replace(self, cursors={**self.cursors, index: cursor})

    def plus(self, **counts: int) -> "Run":
        """Return the run with these added to its counts."""
        return replace(self, counts={**self.counts, **{n: self.counts.get(n, 0) + more for n, more in counts.items()}})

    def tell(self, *told: Mapping[str, str]) -> "Run":
        """Return the run with more to tell, as far as there is room."""
        return replace(self, told=(*self.told, *told)[:MOST_TOLD])


NEW_RUN: Final = Run()
