"""When a failed call may be sent again, and how long to wait before."""

from collections.abc import Callable
from dataclasses import dataclass

import grpc

from jobledger_client._errors import (
    DeadlineExceededError,
    DrainingError,
    InvalidReplyError,
    JobledgerError,
    UnavailableError,
)

# Resets that proxies and HTTP/2 make, when no service had a word in it.
_RESETS = frozenset({grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before the next attempt, in seconds.

    After n failures in a row the wait is `initial` · `multiplier`^(n - 1), at most `ceiling`, of which half is drawn by
    chance. When the service asks for a longer wait in RetryInfo, that one is kept and the chance comes on top.
    """

    initial: float = 0.1
    multiplier: float = 2.0
    ceiling: float = 5.0

    def wait(self, failures: int, error: JobledgerError | None, random: Callable[[], float]) -> float:
        """Return the seconds to wait after `failures` (1 or more) in a row, the last of which was `error`."""
        exponent = min(failures - 1, 64)  # beyond this the ceiling holds for any sensible multiplier
        longest: float = min(self.ceiling, self.initial * self.multiplier**exponent)
        asked = error.retry_after if error is not None and error.retry_after else 0.0
        return max(longest / 2, asked) + longest / 2 * random()


def nothing_was_done(error: JobledgerError) -> bool:
    """Tell whether the service says that the call had no effect."""
    if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return error.retry_after is not None
    return isinstance(error, DrainingError)


def may_repeat(error: JobledgerError, *, idempotent: bool) -> bool:
    """Tell whether a call that failed with `error` may be sent again."""
    return nothing_was_done(error) or (idempotent and isinstance(error, UnavailableError))


def tells_less(error: JobledgerError, before: JobledgerError) -> bool:
    """Tell whether `error` says only that time was up, while the failure before says why there was no answer."""
    return isinstance(error, DeadlineExceededError) and not error.reason and not nothing_was_done(before)


def may_resume(error: JobledgerError) -> bool:
    """Tell whether a stream that broke with `error` goes on from its last cursor."""
    if isinstance(error, InvalidReplyError):
        return False
    return may_repeat(error, idempotent=True) or (error.code in _RESETS and not error.reason)


class Outage:
    """How long a watch has heard nothing, and how long it still tries.

    Until the first message it tries for `first_patience` seconds, as long as any call would; afterwards a server may be
    away for `patience` seconds.
    """

    def __init__(self, backoff: Backoff, *, first_patience: float, patience: float) -> None:
        self._backoff = backoff
        self._left_to_try = first_patience
        self._patience = patience
        self._failures = 0
        self._since = 0.0

    def ended(self) -> None:
        """Note that a message came."""
        self._failures = 0
        self._left_to_try = self._patience

    def wait(self, error: JobledgerError, now: float, random: Callable[[], float]) -> float | None:
        """Return the seconds to wait before the next attempt, or None when it has been tried for too long."""
        if not self._failures:
            self._since = now
        self._failures += 1
        wait = self._backoff.wait(self._failures, error, random)
        return wait if now + wait < self._since + self._left_to_try else None
