"""Holds calls back after a refusal for overload, which costs the service about as much as a small call."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from math import exp, exp2
from threading import Lock

from jobledger_client._error_groups import JobledgerError
from jobledger_client._generated._errors import QueueFullError, TooManyReadsError

WINDOW_SECONDS = 5.0
"""The time constant by which the counts fade."""
MARGIN = 1.1
"""Calls sent per accepted call; a tenth more shows the client when the service accepts more again."""
MAX_DOUBLINGS = 60
"""After so many every call is sent, however many were refused."""
NEVER_HELD_BACK = frozenset({"Heartbeat", "CompleteChunks", "FailChunks", "ReleaseChunks"})
"""The reports on held leases: the service has a reserve for them, and a late one loses finished work."""


@dataclass(slots=True)
class _Method:
    """The recent calls of a method. Until `ends_at`, in seconds, `refusal` makes the errors of calls held back."""

    called: float = 0.0
    accepted: float = 0.0
    counted_at: float = 0.0
    refusal: Callable[..., JobledgerError] | None = None
    ends_at: float = 0.0

    def fade(self, now: float) -> None:
        """Fade the counts by the time since `counted_at`."""
        rest = exp((self.counted_at - now) / WINDOW_SECONDS)
        self.called *= rest
        self.accepted *= rest
        self.counted_at = now

    def share(self, now: float) -> float:
        """Return the share of calls that are sent; 1 or more is all."""
        sendable, over = MARGIN * self.accepted + 1, now - self.ends_at
        if over < 0:
            return sendable / (self.called + 1)
        return sendable / max(self.called, 1) * exp2(min(over, MAX_DOUBLINGS))


class Throttle:
    """Which calls of one client are sent while the service is overloaded, each method for itself.

    Until the retry delay of the newest overload refusal has passed, a call is sent with the probability
    (MARGIN · accepted + 1) / (called + 1), counted over the recent calls, including those held back. This is the
    adaptive throttling of "Handling Overload" in Site Reliability Engineering (O'Reilly, 2016). Afterwards the
    probability is (MARGIN · accepted + 1) / called, so that a lone caller that has waited is sent, and doubles each
    second, because a service that has recovered may lack capacity for all calls held back. Any thread may use it.
    `now` is in seconds of a monotonic clock.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._methods: dict[str, _Method] = {}

    def check(self, method: str, now: float, sample: float) -> JobledgerError | None:
        """Count a call; return an error if it is held back. `sample` is a random number from 0 to 1."""
        with self._lock:
            recent = self._recent(method, now)
            share = recent.share(now)
            recent.called += 1
            if recent.refusal is None or sample < share:
                return None
            return recent.refusal(retry_after=timedelta(seconds=recent.ends_at - now if now < recent.ends_at else 1.0))

    def record(self, method: str, now: float, error: JobledgerError | None) -> None:
        """Record the outcome of a call that was sent: its error, or None for a response."""
        with self._lock:
            recent = self._recent(method, now)
            if isinstance(error, QueueFullError | TooManyReadsError) and error.retry_after is not None:
                if method not in NEVER_HELD_BACK:
                    recent.refusal, recent.ends_at = _held_back(method, error), now + error.retry_after.total_seconds()
            elif error is None or error.reason:  # without a reason, it was not the service that answered
                recent.accepted += 1

    def _recent(self, method: str, now: float) -> _Method:
        recent = self._methods.setdefault(method, _Method())
        recent.fade(now)
        return recent


def _held_back(method: str, refusal: JobledgerError) -> Callable[..., JobledgerError]:
    """Return what makes the errors of calls held back after a refusal, of the same class and reason."""
    message = f"the client holds {method} back, because the service refused it for overload: {refusal.message}"
    return partial(type(refusal), message, code=refusal.code, reason=refusal.reason, metadata=refusal.metadata)
