"""Parts of a new job: its retry policy, chunks and stages. None means the service's default."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Whether and when a chunk is tried again after a failed attempt.

    A chunk is tried `max_attempts` times in all, 1 to 100 (3). The first wait is `initial_backoff`, 0 s to 24 h (1 s);
    each further one is `multiplier` times as long, 1 to 10 (2), up to `max_backoff`, at most 24 h (5 min). `jitter` is
    the random part of a wait, 0 to 1 (0.2). The values in parentheses are the defaults.
    """

    max_attempts: int | None = None
    initial_backoff: timedelta | None = None
    multiplier: float | None = None
    max_backoff: timedelta | None = None
    jitter: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSpec:
    """One chunk of a new job: its own input, at most 64 KiB encoded, and its number of items (1)."""

    input: Mapping[str, Any] | None = None
    item_count: int | None = None


@dataclass(frozen=True, slots=True)
class FinalizerSpec:
    """The last chunk of a new job, which no worker gets before all others are completed.

    It has its own input, at most 64 KiB encoded; `weight` is how many average chunks it counts for in the percent,
    above 0 and up to 1,000 (1).
    """

    input: Mapping[str, Any] | None = None
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """A phase that each chunk goes through; `weight` is its share of a chunk's work in any unit, above 0 (1)."""

    name: str
    weight: float | None = None
