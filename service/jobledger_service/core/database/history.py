"""What this process has seen of its ledger's history, compared with what each transaction finds.

A database that was exchanged may lack what was acknowledged. On a newer time line, or after a restart, that is lost:
the ledger continues from the rest. A database of an older time line has come back, and is stale: nothing is read from
it or written to it, until a connection finds the newer one.
"""

import time
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog
from msgspec import Struct as MsgStruct
from sqlalchemy import Connection

from jobledger_service.core.model.history.terms import Point, Term, Terms

from .driver_statements import rows

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger(__name__)

_PLACE: Final = "SELECT position, term FROM ledger"
_TERMS: Final = "SELECT first_position, term FROM terms"


class Loss(MsgStruct, frozen=True):
    """The end of a history that is gone: the last position that is kept, and how many positions came after it."""

    kept: int
    positions: int


class StaleDatabaseError(Exception):
    """The database is an older one than this process has seen, or has another epoch."""


class _Seen(NamedTuple):
    """A state of the ledger: its epoch, its terms, and the last start of its database."""

    epoch: str
    start: str
    terms: Terms


class History:
    """The newest position, and the terms, that this process has seen of its ledger. Any thread may use it.

    `start` is the dialect's expression for the last start of the database: its time line, `@`, and a name.
    `on_change` is called with new terms, and the loss if there is one, before anybody can know of them.
    """

    def __init__(self, start: str) -> None:
        self.start_query = f"SELECT {start}"
        """Reads the last start of a database."""
        self._state = f"SELECT epoch, {start} FROM ledger"  # noqa: S608  the dialect's own words
        self._lock = Lock()
        self._seen = _Seen("", "", Terms([(0, 0)]))
        self.position = 0
        """The newest position that was seen; it falls only with a loss."""
        self.on_change: Callable[[Terms, Loss | None], object] = lambda _terms, _loss: None
        self.lost_positions = 0
        """How many positions were lost since this process started."""
        self.lost_at: float | None = None
        """When the last of these losses was noticed, on the monotonic clock."""
        self.is_stale = False
        """Whether the last transaction found a stale database."""

    @property
    def start(self) -> str:
        """The last start of the newest database that was seen, empty before the first."""
        return self._seen.start

    @property
    def terms(self) -> Terms:
        """The terms of the newest database that was seen."""
        return self._seen.terms

    def find(self, connection: Connection, floor: int) -> int:
        """Return the newest position of a transaction's snapshot; raises StaleDatabaseError.

        `floor` is the position that was known before the transaction began.
        """
        [(position, term)] = rows(connection, _PLACE, ())
        self.compare(connection, position, term, floor)
        newest: int = position
        return newest

    def compare(self, connection: Connection, position: int, term: int, floor: int) -> None:
        """Do the same for a transaction that has read the ledger's position and present term itself."""
        seen = self._seen
        if not seen.epoch or term != seen.terms.current or position < floor:
            self._adopt(connection, position, floor)
        elif position > self.position or self.is_stale:
            self.advance(term, position)

    def check_start(self, start: str) -> None:
        """Raise StaleDatabaseError for a database whose time line is older than the newest that was seen."""
        if _time_line(start) < _time_line(self.start):
            older = "its time line is older than that of the database that this server has seen last"
            self._refuse(older if _time_line(start) else "it is a standby")

    def advance(self, term: Term, position: int) -> None:
        """Remember a position that was reached, unless its term is no longer the present one."""
        with self._lock:
            if self._seen.terms.current == term:
                self.position = max(self.position, position)
                self.is_stale = False

    def includes(self, point: Point) -> bool:
        """Whether the ledger has what it had at a point, as far as this process has seen it."""
        with self._lock:
            return _contains(self.terms, self.position, point)

    @property
    def newest(self) -> Point:
        """The newest point that was seen."""
        with self._lock:
            return self.terms.point(self.position)

    def _adopt(self, connection: Connection, position: int, floor: int) -> None:
        """Compare a transaction's snapshot with all that was seen, and remember it if it is newer."""
        [(epoch, start)] = rows(connection, self._state, ())
        state = _Seen(epoch, start, Terms((first, term) for first, term in rows(connection, _TERMS, ())))
        with self._lock:
            seen = self._seen
            if seen.epoch not in ("", epoch):
                self._refuse("it has another epoch than this server began with: restart the server")
            self.check_start(start)
            # it may have fallen since this transaction began
            floor = min(floor, self.position)
            loss = None
            if not _contains(state.terms, position, seen.terms.point(floor)):
                if start == seen.start:
                    self._refuse("it lacks what this server has seen of it")
                kept = state.terms.last_common(seen.terms, min(position, self.position))
                loss = Loss(kept, self.position - kept)
            # another thread may have found a newer term since this transaction began
            if not seen.epoch or loss is not None or state.terms.current >= seen.terms.current:
                self._remember(state, position, loss)

    def _remember(self, state: _Seen, position: int, loss: Loss | None) -> None:
        self.is_stale = False
        if loss is None:
            self.position = max(self.position, position)
        else:
            self.position = position
            self.lost_positions += loss.positions
            self.lost_at = time.monotonic()
            log.error(
                "the database was exchanged for one that lacks acknowledged changes: watches restart",
                lost_positions=loss.positions,
                last_kept=loss.kept,
                now_at=position,
            )
        self.on_change(state.terms, loss)
        self._seen = state

    def _refuse(self, why: str) -> None:
        self.is_stale = True
        raise StaleDatabaseError(why)


def _time_line(start: str) -> str:
    return start.partition("@")[0]


def _contains(terms: Terms, position: int, seen: Point) -> bool:
    """Whether a ledger of these terms, at a position, has what was seen at a point."""
    return position >= seen.position and terms.include(seen)
