"""The stream of a worker: the jobs whose leases it must check, because they were stopped."""

from collections.abc import AsyncGenerator
from contextlib import closing

from .feed.live_feed import LiveFeed
from .feed.stops import Stops


class LeaseWatch:
    """Opens the streams. `quiet_seconds` is the time without a stop after which a stream shows that it is alive."""

    def __init__(self, feed: LiveFeed, quiet_seconds: float) -> None:
        self._feed = feed
        self._quiet_seconds = quiet_seconds

    async def follow(self, owner: str, kinds: frozenset[str]) -> AsyncGenerator[Stops]:
        """Yield at once that the worker must check all leases, then each stop; an empty value when it was quiet.

        `kinds` are those of the jobs, all when empty. Raises Draining.
        """
        with closing(self._feed.subscribe_to_stops(owner, kinds)) as subscription:
            while True:
                yield await subscription.next(self._quiet_seconds)
