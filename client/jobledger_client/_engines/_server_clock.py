"""An estimate of the service's clock from the events of a watch: this machine's own clock may be wrong."""

import time
from collections.abc import Callable

_MAX_AGE_SECONDS = 300.0  # after which a newer estimate replaces an old one, as clocks drift


class ServerClock:
    """The service's time, in seconds since the epoch; this machine's time until the first event.

    An event is committed a little before it arrives, so that the estimate lags by the shortest delay observed.
    """

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._offset = wall() - monotonic()
        self._observed_at: float | None = None

    def observe(self, commit_time: float) -> None:
        """Use the commit time of an event that has just arrived."""
        now = self._monotonic()
        offset = commit_time - now
        if self._observed_at is None or offset >= self._offset or now - self._observed_at > _MAX_AGE_SECONDS:
            self._offset, self._observed_at = offset, now

    def now(self) -> float:
        """Return the service's time."""
        return self._monotonic() + self._offset
