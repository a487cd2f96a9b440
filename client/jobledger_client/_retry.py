"""Whether a failed call may be repeated, and after how long."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from math import inf

import grpc

from jobledger_client._error_groups import (
    ClientClosedError,
    DeadlineExceededError,
    InvalidReplyError,
    JobledgerError,
    UnavailableError,
)
from jobledger_client._generated._errors import DrainingError

# Codes of resets by proxies and HTTP/2; the service did not set them when there is no reason.
_RESETS = frozenset({grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Backoff:
    """The wait before the next attempt.

    After n failures in a row it is `initial` · `multiplier`^(n - 1), at most `max_wait`, half of which is random. When
    the service asks for a longer wait in RetryInfo, the random half is added to that. A call for which it asks for more
    than `max_requested_wait` is not repeated; None means no limit.
    """

    initial: timedelta = timedelta(milliseconds=100)
    multiplier: float = 2.0
    max_wait: timedelta = timedelta(seconds=5)
    max_requested_wait: timedelta | None = None

    def wait(self, failures: int, error: JobledgerError | None, random: Callable[[], float]) -> float:
        """Return the seconds to wait after `failures` (1 or more) in a row, the last of which was `error`.

        They are infinite when the service asks for more than `max_requested_wait`.
        """
        exponent = min(failures - 1, 64)  # beyond this any sensible multiplier reaches max_wait
        full_wait: float = min(self.max_wait.total_seconds(), self.initial.total_seconds() * self.multiplier**exponent)
        requested = error.retry_after.total_seconds() if error is not None and error.retry_after else 0.0
        if self.max_requested_wait is not None and requested > self.max_requested_wait.total_seconds():
            return inf
        return max(full_wait / 2, requested) + full_wait / 2 * random()


def had_no_effect(error: JobledgerError) -> bool:
    """Return whether the service says that the call had no effect."""
    if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return error.retry_after is not None
    return isinstance(error, DrainingError)


def may_repeat(error: JobledgerError, *, idempotent: bool) -> bool:
    """Return whether a call that failed with `error` may be repeated."""
    return had_no_effect(error) or (idempotent and isinstance(error, UnavailableError))


def is_less_specific(error: JobledgerError, previous: JobledgerError) -> bool:
    """Return whether `error` is only a timeout, while `previous` says why there was no response."""
    return isinstance(error, DeadlineExceededError) and not error.reason and not had_no_effect(previous)


def is_reset(error: JobledgerError) -> bool:
    """Return whether the connection ended a call, not the service."""
    return error.code in _RESETS and not error.reason and not isinstance(error, InvalidReplyError | ClientClosedError)


def may_resume(error: JobledgerError) -> bool:
    """Return whether a stream that broke with `error` may reconnect."""
    if isinstance(error, InvalidReplyError):
        return False
    return may_repeat(error, idempotent=True) or is_reset(error)


class Outage:
    """How long a stream has been down, and until when it reconnects.

    Before its first message a stream tries for `first_timeout` seconds, like any call; afterwards for `timeout`.
    """

    def __init__(self, backoff: Backoff, *, first_timeout: float, timeout: float) -> None:
        self._backoff = backoff
        self._current_timeout = first_timeout
        self._timeout = timeout
        self._failures = 0
        self._started_at = 0.0

    def reset(self) -> None:
        """End the outage: a message has arrived."""
        self._failures = 0
        self._current_timeout = self._timeout

    def wait(self, error: JobledgerError, now: float, random: Callable[[], float]) -> float | None:
        """Return the seconds to wait before the next attempt; None when the timeout would pass meanwhile."""
        if not self._failures:
            self._started_at = now
        self._failures += 1
        wait = self._backoff.wait(self._failures, error, random)
        return wait if now + wait < self._started_at + self._current_timeout else None
