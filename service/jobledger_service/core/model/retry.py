"""Retry policies: when a failed attempt is retried."""

from msgspec import Struct as MsgStruct

from .bounds.limits import SECOND


class RetryPolicy(MsgStruct, frozen=True, array_like=True):
    """The maximum number of attempts at a chunk and the waits between them; durations in microseconds."""

    max_attempts: int = 3
    initial_backoff: int = 1 * SECOND
    multiplier: float = 2.0
    max_backoff: int = 300 * SECOND
    jitter: float = 0.2

    def backoff(self, attempt: int, jitter_sample: float) -> int:
        """Return the wait after failed attempt number `attempt` (from 1), in microseconds.

        Exponential backoff with a maximum: initial × multiplier^(attempt-1), ± jitter; `jitter_sample` is uniform from
        0 to 1.
        """
        try:
            wait = min(self.initial_backoff * self.multiplier ** (attempt - 1), self.max_backoff)
        except OverflowError:
            wait = self.max_backoff
        return round(wait * (1 + self.jitter * (2 * jitter_sample - 1)))
