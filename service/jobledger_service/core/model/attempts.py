"""The attempts at chunks: the latest is a part of its chunk, and earlier ones are kept beside it."""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct as MsgStruct

from .chunk import AttemptOutcome, Chunk, WorkError
from .micros import Micros
from .states import ChunkState

MAX_ATTEMPTS_OF_CHUNK: Final = 19
"""Earlier attempts that are kept of one chunk, beside its latest."""
MAX_ATTEMPTS_OF_JOB: Final = 10_000
"""Those that are kept of one job, unless it has more chunks: of each chunk one is kept at least."""
LAST_ATTEMPTS: Final = 5
"""Attempts that a job shows."""
_FAILURES: Final = frozenset({AttemptOutcome.FAILED, AttemptOutcome.EXPIRED, AttemptOutcome.TIMED_OUT})


class Attempt(MsgStruct, frozen=True):
    """One worker's try at a chunk; times in microseconds since 1970. It lasts while it has no outcome."""

    chunk_index: int
    number: int
    worker: str
    task_id: str
    start_time: Micros | None
    end_time: Micros | None
    outcome: AttemptOutcome | None
    error: WorkError | None
    """Why it failed; None unless it did."""


def error_of(outcome: AttemptOutcome | None, error: WorkError | None) -> WorkError | None:
    """Return the error of an attempt; a chunk still has that of an earlier one when an attempt did not fail."""
    return error if outcome in _FAILURES else None


def has_ended_attempt(chunk: Chunk) -> bool:
    """Whether the latest attempt at a chunk has ended."""
    return chunk.outcome is not None


def latest_attempt(chunk: Chunk) -> Attempt | None:
    """Return the latest attempt at a chunk; None before the first."""
    if chunk.state is not ChunkState.PROCESSING and not has_ended_attempt(chunk):
        return None
    return Attempt(
        chunk.index,
        chunk.attempt_number,
        chunk.worker,
        chunk.task_id,
        chunk.start_time,
        chunk.attempt_end_time,
        chunk.outcome,
        error_of(chunk.outcome, chunk.error),
    )


def max_kept_attempts(chunk_count: int) -> int:
    """Return how many earlier attempts are kept of each chunk of a job."""
    return min(MAX_ATTEMPTS_OF_CHUNK, max(1, MAX_ATTEMPTS_OF_JOB // chunk_count))


def last_attempts(chunks: Iterable[Chunk], earlier: Iterable[Attempt]) -> list[Attempt]:
    """Return the last attempts, the newest first: those that last, by their start, then the others by their end."""
    latest = (attempt for chunk in chunks if (attempt := latest_attempt(chunk)) is not None)
    return sorted([*latest, *earlier], key=_recency, reverse=True)[:LAST_ATTEMPTS]


def _recency(attempt: Attempt) -> tuple[bool, int, int, int]:
    time = attempt.start_time if attempt.end_time is None else attempt.end_time
    return attempt.end_time is None, time or 0, -attempt.chunk_index, attempt.number
