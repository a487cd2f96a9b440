"""The service's clock, as the events of a watch tell it: this machine's own may be wrong."""

import time
from collections.abc import Callable

_RENEWED = 300.0  # seconds after which an estimate gives way to a newer one, for clocks that drift


class ServerClock:
    """Tells the service's time, in seconds since the epoch; by this machine's clock until an event was heard of.

    An event was committed a little before it is heard of, so that the estimate lags by what the quickest one took.
    """

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._offset = wall() - monotonic()
        self._heard_at: float | None = None

    def hear(self, commit_time: float) -> None:
        """Take the commit time of an event that was received just now."""
        now = self._monotonic()
        offset = commit_time - now
        if self._heard_at is None or offset >= self._offset or now - self._heard_at > _RENEWED:
            self._offset, self._heard_at = offset, now

    def now(self) -> float:
        """Return the time."""
        return self._monotonic() + self._offset
