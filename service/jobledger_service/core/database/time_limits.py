"""Time limits of the database: waits for connections, statements, locks and transactions are bounded."""

import time
from math import inf
from typing import Final, Self

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

CLIENT_GRACE_SECONDS: Final = 1.0
"""Seconds after which a client gives up on a statement that the database itself should have ended."""


class TimeLimits(MsgStruct, frozen=True):
    """Bounds in seconds; None is no bound, for what is as long as it is.

    `statement` is for writes, `read` for a read as a whole, `export` for a page of an export, `lock` for each wait for
    a lock, `idle` for a transaction in which nothing happens, as when the process that holds it was cut off.
    """

    connect: float = 5
    statement: float | None = 15
    lock: float | None = 10
    idle: float | None = 5
    read: float | None = 10
    export: float | None = 60

    def for_reads(self, seconds: float | None) -> Self:
        """Return these limits with another one for each statement."""
        return replace(self, statement=seconds)


DEFAULT_LIMITS: Final = TimeLimits()
UNLIMITED: Final = TimeLimits(statement=None, lock=None, idle=None, read=None, export=None)
"""Limits of migrations, which may take any time; connecting still has a bound."""


class Deadline:
    """The deadline of a connection's transaction, by the monotonic clock; `inf` for none."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = inf

    def begin(self, seconds: float | None) -> None:
        """Start the time of a transaction."""
        self.at = inf if seconds is None else time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until then, at least 0."""
        return max(0.0, self.at - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether it was reached."""
        return time.monotonic() >= self.at
