"""Counts of the feed, as plain numbers that any thread may read."""

from msgspec import Struct as MsgStruct


class FeedCounts(MsgStruct):
    """What the feed did since the process started, and what waits."""

    evaluations: int = 0
    """How often a filter was applied to an entry."""
    wakeups: int = 0
    """How often a watch received an entry that was just committed."""
    history: int = 0
    """The number of stored events read for lagging watches."""
    queued_bytes: int = 0
    """Bytes of entries that wait in the queues of watches."""
