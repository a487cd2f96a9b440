"""The beginning of a writing transaction: whether it may write, and in which term."""

import secrets
import time
from typing import Final, NamedTuple

from sqlalchemy import Connection

from jobledger_service.core.model.history.terms import new_term

from .dialects import Dialect
from .driver_statements import rows
from .tables import ledger, terms

TERM: Final = "term"
"""The key in a connection's `info` of the term of the positions that its writing transaction takes."""


class Beginning(NamedTuple):
    """What a writing transaction reads first: the lowest writer level, which labels are indexed, and its place."""

    writer_level: int
    label_indexes: str
    position: int
    term: int
    term_start: str
    """The start of the database at which the present term began."""
    start: str
    """The last start of the database."""

    @property
    def needs_term(self) -> bool:
        """Whether the database has started since the present term began."""
        return self.term_start != self.start


class Beginnings:
    """The statements with which writing transactions begin."""

    def __init__(self, dialect: Dialect) -> None:
        columns = "writer_level, label_indexes, position, term, start"
        self._read = f"SELECT {columns}, {dialect.start} FROM ledger"  # noqa: S608  the dialect's own words
        self._start = f"SELECT {dialect.start}"
        self._terms = dialect.insert_or(terms)

    def read(self, connection: Connection) -> Beginning:
        """Return what a transaction reads first."""
        [row] = rows(connection, self._read, ())
        return Beginning(*row)

    def begin_term(self, connection: Connection) -> None:
        """Begin a term, in a transaction of its own, unless another process has done so since the database started.

        A term without events is replaced.
        """
        lock = (
            ledger.update()
            .values(term=ledger.c.term)
            .returning(ledger.c.position, ledger.c.term, ledger.c.commit_time, ledger.c.start)
        )
        position, previous, commit_time, term_start = connection.execute(lock).one()
        [(start,)] = rows(connection, self._start, ())
        if start == term_start:
            return
        term = new_term(time.time_ns() // 1_000, commit_time, previous, secrets.randbelow)
        connection.execute(ledger.update().values(term=term, start=start))
        row = self._terms.values(first_position=position + 1, term=term)
        connection.execute(row.on_conflict_do_update(index_elements=[terms.c.first_position], set_={"term": term}))
