"""How many of a job's chunks are in each state."""

from collections.abc import Iterable, Mapping
from typing import Self

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from .chunk import Chunk
from .states import ChunkState


class Counts(MsgStruct, frozen=True):
    """A job's chunks by state."""

    pending: int = 0
    processing: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    delayed: int = 0
    """Those of the pending ones that wait for their next attempt."""

    @property
    def total(self) -> int:
        """The number of all chunks."""
        return self.pending + self.processing + self.completed + self.failed + self.cancelled

    def moved(self, old: Chunk, new: Chunk) -> Self:
        """Return the counts after one chunk changed from `old` to `new`."""
        delayed = self.delayed + (new.next_attempt_time is not None) - (old.next_attempt_time is not None)
        if old.state is new.state:
            return self if delayed == self.delayed else replace(self, delayed=delayed)
        was, is_ = old.state.lower(), new.state.lower()
        return replace(self, **{was: getattr(self, was) - 1, is_: getattr(self, is_) + 1}, delayed=delayed)

    def of(self, state: ChunkState) -> int:
        """Return the number of chunks in a state."""
        count: int = getattr(self, state.lower())
        return count

    def swept(self, moved: Mapping[ChunkState, int], to: ChunkState) -> Self:
        """Return the counts after `moved` chunks of each state changed to another state."""
        changed = {state.lower(): self.of(state) - count for state, count in moved.items()}
        delayed = 0 if ChunkState.PENDING in moved else self.delayed
        return replace(self, **{**changed, to.lower(): self.of(to) + sum(moved.values())}, delayed=delayed)


def counts_of(chunks: Iterable[Chunk]) -> Counts:
    """Return how many of these chunks are in each state."""
    count = [chunk.state for chunk in chunks].count
    return Counts(
        pending=count(ChunkState.PENDING),
        processing=count(ChunkState.PROCESSING),
        completed=count(ChunkState.COMPLETED),
        failed=count(ChunkState.FAILED),
        cancelled=count(ChunkState.CANCELLED),
    )
