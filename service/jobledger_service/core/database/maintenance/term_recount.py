"""Corrects the index of terms: each bit of a term stands for an event that has it, and no bit is missing.

The terms of an event are computed from its message and compared with the rows. That is done for a part of the terms at
a time, so that the rows of a part fit into memory. Nothing is trimmed meanwhile, and what is committed meanwhile has
later positions, whose bits are left as they are.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from string import ascii_letters, digits
from typing import Final

from sqlalchemy import BigInteger, Connection, bindparam, func, select, update

from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.rows.event_terms import BLOCK, BLOCK_BITS, EventTerms, remove_empty, term_rows
from jobledger_service.core.database.rows.row_sets import RowSets
from jobledger_service.core.database.tables import audit, event_terms, events, ledger

ROWS_PER_PART: Final = 100_000
EVENTS_PER_READ: Final = 100
_FIRST: Final = ascii_letters + digits + "-_"
"""The first characters of terms, which are hashes."""
_NEWEST: Final = select(ledger.c.position)
_CORRECT: Final = (
    update(event_terms)
    .where(event_terms.c.term == bindparam("of"), event_terms.c.block == bindparam("at"))
    .values(
        bits=event_terms.c.bits.bitwise_and(bindparam("kept", type_=BigInteger)).bitwise_or(
            bindparam("missing", type_=BigInteger)
        )
    )
)


class TermRecount:
    """Corrects the rows of terms, a part at a time. `terms` reads a stored event, None when it cannot be read."""

    def __init__(self, dialect: Dialect, terms: Callable[[int, bytes], EventTerms | None]) -> None:
        self._dialect = dialect
        self._row_sets = RowSets(dialect)
        self._terms = terms

    def parts(self, connection: Connection) -> list[str]:
        """Return the parts: with which characters the terms of each begin."""
        rows = connection.execute(select(func.count()).select_from(event_terms)).scalar_one()
        count = min(rows // ROWS_PER_PART + 1, len(_FIRST))
        return [_FIRST[first::count] for first in range(count)]

    def correct(self, connection: Connection, part: str) -> int:
        """Correct the rows of a part, and return how many were wrong."""
        self._dialect.lock(connection, "trim", "trim audit")
        newest: int = connection.execute(_NEWEST).scalar_one()
        expected_bits = self._bits(connection, part, newest)
        rows = select(event_terms).where(func.substr(event_terms.c.term, 1, 1).in_(list(part)))
        differ = [
            (term, block, bits, expected)
            for term, block, bits in connection.execute(rows)
            if bits != (expected := expected_bits.pop((term, block), 0))
        ]
        absent = [{"term": term, "block": block, "bits": bits} for (term, block), bits in sorted(expected_bits.items())]
        # Commits lock the counter before the rows of the newest block, and so does this.
        live = newest // BLOCK
        waits = any(row[1] >= live for row in differ) or any(block >= live for _, block in expected_bits)
        last: int = connection.execute(_NEWEST.with_for_update()).scalar_one() if waits else newest
        wrong = []
        for term, block, bits, expected in differ:
            committed_meanwhile = _later(block, newest) & ~_later(block, last)
            extra, missing = bits & ~expected & ~committed_meanwhile, expected & ~bits
            if extra or missing:
                wrong.append({"of": term, "at": block, "kept": ~extra, "missing": missing})
        if wrong:
            connection.execute(_CORRECT, wrong)
            remove_empty(connection, self._row_sets, [{"term": row["of"], "block": row["at"]} for row in wrong])
        self._row_sets.add(connection, event_terms, absent)
        return len(wrong) + len(absent)

    def _bits(self, connection: Connection, part: str, newest: int) -> dict[tuple[str, int], int]:
        """Return what the rows of a part should be, as far as there are events."""
        bits: defaultdict[tuple[str, int], int] = defaultdict(int)
        for page in self._events(connection, newest):
            for row in term_rows(page):
                if row["term"][0] in part:
                    bits[row["term"], row["block"]] |= row["bits"]
        return bits

    def _events(self, connection: Connection, newest: int) -> Iterator[list[EventTerms]]:
        for table in (audit, events):
            position = table.c.position
            page = (
                select(position, table.c.message)
                .where(position > bindparam("after"), position <= newest)
                .order_by(position)
                .limit(EVENTS_PER_READ)
            )
            after = 0
            while rows := connection.execute(page, {"after": after}).all():
                after = rows[-1].position
                read = (self._terms(row.position, row.message) for row in rows)
                yield [event for event in read if event is not None]


def _later(block: int, newest: int) -> int:
    """Return the bits of a block that stand for positions after the newest."""
    last, bit = divmod(newest, BLOCK)
    if block < last:
        return 0
    return BLOCK_BITS & ~((2 << bit) - 1) if block == last else BLOCK_BITS
