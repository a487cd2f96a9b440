"""Sweeps: one rule for all chunks of a job in some states, applied without visiting each chunk."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from .chunk import AttemptOutcome, Chunk, WorkError
from .micros import Micros
from .states import ChunkState, check_chunk_transition


class Sweep(MsgStruct, frozen=True):
    """Changes chunks to one state at `time`: `moved` counts them by their earlier state.

    It applies to those of `indexes`, or to all when empty. `attempts` is the maximum of attempts at a chunk that waits
    again.
    """

    moved: Mapping[ChunkState, int]
    to: ChunkState
    time: Micros
    attempts: int = 0
    indexes: Sequence[int] = ()

    @property
    def count(self) -> int:
        """The number of chunks that it changes."""
        return sum(self.moved.values())

    def covers(self, chunk: Chunk) -> bool:
        """Whether the sweep changes a chunk of the job."""
        return chunk.state in self.moved and (not self.indexes or chunk.index in self.indexes)

    def applied(self, chunk: Chunk) -> Chunk:
        """Return a chunk as it is after the sweep."""
        check_chunk_transition(chunk.state, self.to)
        if self.to is ChunkState.PENDING:
            return requeued(chunk, self.attempts)
        return stopped(chunk, self.time)


class ChunkRange(MsgStruct, frozen=True):
    """Chunks from one index through another that changed to one state together."""

    first: int
    last: int
    state: ChunkState


class SweptChunks(MsgStruct, frozen=True):
    """The chunks of a job that a sweep changes with one statement: all that it covers, except the `loaded` ones."""

    sweep: Sweep
    loaded: Sequence[int]
    ranges: Sequence[ChunkRange]

    @property
    def count(self) -> int:
        """Their number."""
        return sum(run.last - run.first + 1 for run in self.ranges)


def stopped(chunk: Chunk, now: Micros) -> Chunk:
    """Return a chunk that was stopped with its job; this takes its lease away."""
    in_work = chunk.state is ChunkState.PROCESSING
    return replace(
        chunk,
        state=ChunkState.CANCELLED,
        end_time=now,
        lease_expire_time=None,
        next_attempt_time=None,
        held=0,
        stage_time=None,
        outcome=AttemptOutcome.CANCELLED if in_work else chunk.outcome,
        attempt_end_time=now if in_work else chunk.attempt_end_time,
    )


def requeued(chunk: Chunk, attempts: int) -> Chunk:
    """Return a chunk that waits again, with this many more attempts."""
    return replace(
        chunk,
        state=ChunkState.PENDING,
        max_attempts=chunk.attempt + attempts,
        end_time=None,
        next_attempt_time=None,
        held=0,
        lease_expire_time=None,
    )


class Totals(MsgStruct, frozen=True):
    """Sums over chunks: work in millionths of an item, and microseconds in the current stage, by stage."""

    work_done: int = 0
    items_done: int = 0
    stage_times: Mapping[str, int] = {}


NO_TOTALS: Final = Totals()


def totals_of(chunks: Iterable[Chunk], now: Micros) -> Totals:
    """Return the sums over these chunks."""
    work = items = 0
    times: dict[str, int] = {}
    for chunk in chunks:
        work += chunk.work_done
        items += chunk.items_done
        if chunk.stage_time is not None:
            stage = chunk.progress.stage
            times[stage] = times.get(stage, 0) + max(now - chunk.stage_time, 0)
    return Totals(work, items, times)


class JobChunks(Protocol):
    """What a decision needs to know of a job's chunks without loading each."""

    def totals(self, now: Micros, excluded: int | None = None) -> Totals:
        """Return the sums over the chunks in PROCESSING, except one."""

    def states(self, indexes: Collection[int]) -> Mapping[int, ChunkState]:
        """Return the states of those of these chunks that exist."""

    def first_error(self, excluded: Collection[int]) -> WorkError | None:
        """Return the error of the first FAILED chunk, except these; None when there is none."""
