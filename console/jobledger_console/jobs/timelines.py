"""What charts of a job show: attempts in rows by worker, and how many chunks and items were completed when."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from jobledger.v1.chunk_pb2 import Chunk
from jobledger_client import AttemptOutcome, ChunkState

from jobledger_console.jobs.model import Try
from jobledger_console.wording import seconds

MAX_BARS: Final = 600
MAX_ROWS: Final = 40
_MAX_LANES: Final = 8
_BUCKETS: Final = 60


@dataclass(frozen=True, slots=True)
class Timeline:
    """Attempts as bars: `rows` are (worker, lanes), `bars` (row, lane, start, end or None, outcome, chunk, code)."""

    rows: list[tuple[str, int]]
    bars: list[tuple[int, int, float, float | None, str, int, str]]
    hidden: int
    """How many attempts are not shown: the earliest, and those of more workers than there are rows."""


def timeline(tries: Iterable[Try]) -> Timeline:
    """Return the latest attempts, in rows by worker; overlapping ones of a worker are in lanes of its row."""
    attempts = sorted(tries, key=lambda attempt: attempt.start)
    latest = attempts[-MAX_BARS:]
    workers = sorted({attempt.worker for attempt in latest})[:MAX_ROWS]
    numbers = {worker: number for number, worker in enumerate(workers)}
    lanes: list[list[float]] = [[] for _ in workers]
    bars = []
    for attempt in latest:
        row = numbers.get(attempt.worker)
        if row is None:
            continue
        lane = _free_lane(lanes[row], attempt)
        outcome = attempt.outcome.name if attempt.outcome is not None else "PROCESSING"
        bars.append(
            (
                row,
                lane,
                round(attempt.start, 2),
                None if attempt.end is None else round(attempt.end, 2),
                outcome,
                attempt.chunk,
                attempt.code,
            )
        )
    rows = [(worker, max(len(lanes[number]), 1)) for worker, number in numbers.items()]
    return Timeline(rows, bars, len(attempts) - len(bars))


def _free_lane(lanes: list[float], attempt: Try) -> int:
    """Return the first lane that is free when the attempt begins, and fill it until its end."""
    end = attempt.end if attempt.end is not None else float("inf")
    for lane, free_at in enumerate(lanes):
        if free_at <= attempt.start:
            lanes[lane] = end
            return lane
    if len(lanes) < _MAX_LANES:
        lanes.append(end)
        return len(lanes) - 1
    return _MAX_LANES - 1


def rate(chunks: Iterable[Chunk], now: float) -> tuple[Sequence[float], Sequence[float], float]:
    """Return the starts of equal spans of time, the items a second completed in each, and how long a span is.

    A chunk without items counts as one item. Without completed chunks all are empty.
    """
    done = [
        (seconds(chunk.end_time), _items(chunk))
        for chunk in chunks
        if chunk.state == ChunkState.COMPLETED and chunk.HasField("end_time")
    ]
    if not done:
        return [], [], 0.0
    first, last = min(end for end, _ in done), max(*(end for end, _ in done), now)
    width = max((last - first) / _BUCKETS, 1.0)
    count = int((last - first) / width) + 1
    sums = [0.0] * count
    for end, items in done:
        sums[int((end - first) / width)] += items
    return [first + width * number for number in range(count)], [total / width for total in sums], width


def _items(chunk: Chunk) -> int:
    return chunk.last_item - chunk.first_item + 1 if chunk.HasField("last_item") else 1


def outcome_words() -> list[str]:
    """Return the outcomes that bars may have."""
    return ["PROCESSING", *AttemptOutcome.__members__]
