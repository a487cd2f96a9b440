"""How a current watch writes: entry by entry as they are committed, while its task sleeps."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from jobledger_service.core.store.entry import Entry


class Writer(Protocol):
    """Writes the messages of one stream, one at a time.

    `on_written` is called once, when the message that was begun is written; `on_failed` when the caller has left.
    """

    is_writing: bool
    on_written: Callable[[], None] | None
    on_failed: Callable[[], None] | None

    def begin(self, message: bytes) -> None:
        """Begin to write a message, when none is being written."""

    async def finish(self) -> None:
        """Wait until what was begun is written; raises an error when the caller has left."""


class BookmarkTimer:
    """The time of a quiet stream's next bookmark."""

    __slots__ = ("_every", "_last_sent", "_now")

    def __init__(self, every: float) -> None:
        self._every = every
        self._now = asyncio.get_running_loop().time
        self._last_sent = self._now()

    def left(self) -> float:
        """Seconds until the next bookmark is due."""
        return max(self._last_sent + self._every - self._now(), 0.0)

    def due(self) -> bool:
        """Whether a bookmark is due now."""
        return self.left() <= 0

    def restart(self) -> None:
        """Record that a message was sent."""
        self._last_sent = self._now()


class Live:
    """Where a watch writes the messages of entries, and how it makes them.

    `make` returns None for an entry that the task must see, as the watch ends with it. `merges`: so must it see entries
    that came while one was written, if they are several. `kind`: watches that an entry reaches by the same route, and
    that have the same kind, have the same message of it.
    """

    __slots__ = ("_kind", "_make", "_sent", "left", "merges", "writer")

    def __init__(
        self, writer: Writer, timer: BookmarkTimer, make: Callable[[Entry], bytes | None], *, kind: bool, merges: bool
    ) -> None:
        self.writer = writer
        self.merges = merges
        self.left = timer.left
        self._kind = kind
        self._make = make
        self._sent = timer.restart

    def write(self, entry: Entry, made: dict[bool, bytes]) -> bool:
        """Begin to write the message of an entry, one of those that are `made` if it is there; False for the task's."""
        message = made.get(self._kind)
        if message is None:
            try:
                message = self._make(entry)
            except Exception:  # noqa: BLE001  the task will have it too, and report it
                return False
            if message is None:
                return False
            made[self._kind] = message
        self._sent()
        self.writer.begin(message)
        return True
