"""Time limits of the database: waits for connections, statements, locks and transactions are bounded."""

import time
from math import inf
from typing import Final, Self

from msgspec import Struct as MsgStruct
from msgspec import field
from msgspec.structs import replace

CONNECT_SECONDS: Final = 5.0
"""Seconds for connecting to PostgreSQL, or waiting for a pooled connection; libpq takes whole seconds, at least 2."""
STATEMENT_SECONDS: Final = 15.0
"""Seconds for a statement of a write; the largest takes 0.3 s. More than LOCK_SECONDS, which it may wait before."""
LOCK_SECONDS: Final = 10.0
"""Seconds for a wait for a lock. More than IDLE_SECONDS, after which a holder that was cut off has released it."""
IDLE_SECONDS: Final = 5.0
"""Seconds after which PostgreSQL ends an idle transaction and releases its locks; no batch pauses so long."""
READ_SECONDS: Final = 10.0
"""Seconds for a read as a whole; it holds one of few threads."""
EXPORT_SECONDS: Final = 60.0
"""Seconds for reading one page of an export: 1,000 jobs, which may be large."""
CLIENT_GRACE_SECONDS: Final = 1.0
"""Seconds after which a client gives up on a statement that the database itself should have ended."""


class TimeLimits(MsgStruct, frozen=True):
    """Bounds in seconds; None is no bound, for what is as long as it is.

    `statement` is for writes, `read` for a read as a whole, `export` for a page of an export, `lock` for each wait for
    a lock, `idle` for a transaction in which nothing happens, as when the process that holds it was cut off.
    """

    connect: float = field(default_factory=lambda: CONNECT_SECONDS)
    statement: float | None = field(default_factory=lambda: STATEMENT_SECONDS)
    lock: float | None = field(default_factory=lambda: LOCK_SECONDS)
    idle: float | None = field(default_factory=lambda: IDLE_SECONDS)
    read: float | None = field(default_factory=lambda: READ_SECONDS)
    export: float | None = field(default_factory=lambda: EXPORT_SECONDS)

    def for_reads(self, seconds: float | None) -> Self:
        """Return these limits with another one for each statement."""
        return replace(self, statement=seconds)


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
    def remaining(self) -> float:
        """Seconds until then, at least 0."""
        return max(0.0, self.at - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether it was reached."""
        return time.monotonic() >= self.at
