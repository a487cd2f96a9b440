"""Statistics in the database: figures, the folding of rollups, and the forgetting of what is too old."""

from jobledger_service.core.database.engines import Database
from jobledger_service.core.model.bounds.limits import HOUR

from .failure_rows import trim_failures
from .figures import FiguresReader
from .rules import Figures, StatsQuery
from .running_totals import RunningTotals, compact, forget_kinds

_LOCK = "fold rollups"
"""Of all servers one at a time writes running totals."""


class SqlStatisticsStore:
    """The store of statistics. A read is one snapshot, a write one transaction; both raise StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._figures = FiguresReader(database.dialect)
        self._running = RunningTotals(database.dialect)
        self._checked = ("", "")

    def figures(self, query: StatsQuery) -> Figures:
        """Return the figures."""
        with self._database.read() as connection:
            return self._figures.read(connection, query)

    def unfolded(self, before: int) -> tuple[str, int] | None:
        """Return an owner and an hour before `before`, since 1970, whose rollups are not folded; None when all are."""
        with self._database.read() as connection:
            return self._running.unfolded(connection, before)

    def fold(self, owner: str, hour: int) -> int:
        """Fold rollups of an hour, since 1970, into running totals; return their number, 0 if another process folds."""
        with self._database.write() as connection:
            if not self._database.dialect.try_lock(connection, _LOCK):
                return 0
            return self._running.fold(connection, owner, hour)

    def trim(self, before: int, limit: int) -> int:
        """Merge at most `limit` running totals of hours before a time into one for each kind; return their number.

        When all are merged, delete as many failures of earlier days, and then some of the kinds without other rows.
        """
        with self._database.write() as connection:
            if not self._database.dialect.try_lock(connection, _LOCK):
                return 0
            gone = compact(connection, before // HOUR, limit) or trim_failures(connection, before // HOUR, limit)
            if not gone:
                self._checked = forget_kinds(connection, self._checked, limit)
            return gone
