"""Whether the database answers, judged by the newest transactions of all connections."""

import time
from math import inf


class Availability:
    """When a transaction last succeeded, and when the database last failed one. Any thread may use it."""

    __slots__ = ("_failed_at", "_succeeded_at")

    def __init__(self) -> None:
        self._failed_at = -inf
        self._succeeded_at = -inf

    @property
    def is_away(self) -> bool:
        """Whether the database failed a transaction, and none has succeeded since."""
        return self._failed_at > self._succeeded_at

    def failed(self) -> None:
        """Record that the database failed a transaction: it cannot be reached, or did not answer."""
        self._failed_at = time.monotonic()

    def succeeded(self) -> None:
        """Record that a transaction succeeded."""
        self._succeeded_at = time.monotonic()

    def has_failed_since(self, moment: float) -> bool:
        """Whether the database failed a transaction at or after a time of the monotonic clock."""
        return self._failed_at >= moment
