"""What a worker's stream tells: which of its leases to check, because their jobs were stopped."""

from collections.abc import AsyncGenerator
from contextlib import closing

from .feed.live_feed import LiveFeed
from .feed.stops import Stops


class LeaseWatch:
    """Opens the streams. `quiet_seconds` is after how long without a stop a stream says that it lives."""

    def __init__(self, feed: LiveFeed, quiet_seconds: float) -> None:
        self._feed = feed
        self._quiet_seconds = quiet_seconds

    async def follow(self, owner: str, kinds: frozenset[str]) -> AsyncGenerator[Stops]:
        """Tell at once that all leases are to be checked, then of each stop; of none when it was quiet.

        `kinds` are those of the jobs, all when empty. Raises Draining.
        """
        with closing(self._feed.subscribe_to_stops(owner, kinds)) as subscription:
            while True:
                yield await subscription.next(self._quiet_seconds)
