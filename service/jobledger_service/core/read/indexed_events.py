"""Events that have terms: their positions are walked in the index of terms, and the events are read by position."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, Integer, Select, bindparam, func, select

from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.rows.event_terms import BLOCK, BLOCK_BITS
from jobledger_service.core.database.rows.reads import EventRow
from jobledger_service.core.database.tables import audit, event_terms, events

MAX_ROWS: Final = 20_000
"""Rows of terms that one read fetches."""


class TermWalk:
    """Walks the positions of the events that have any of some terms."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._walks = {newest_first: self._walk(newest_first=newest_first) for newest_first in (True, False)}

    def _walk(self, *, newest_first: bool) -> Select[Any]:
        block = event_terms.c.block
        first = (
            select(event_terms.c.term, block, event_terms.c.bits)
            .where(block.between(bindparam("first", type_=BigInteger), bindparam("last", type_=BigInteger)))
            .order_by(block.desc() if newest_first else block)
            .limit(bindparam("limit", type_=Integer))
        )
        return self._dialect.first_of_each(first, event_terms.c.term)

    def positions(
        self, connection: Connection, terms: Sequence[str], begin: int, end: int, limit: int, *, newest_first: bool
    ) -> tuple[list[int], int | None]:
        """Return the first positions after `begin`, up to `end`, at most `limit`, and the last that was read.

        The last is None when there are no more. The first blocks of each term are read. When a term may have more, the
        others count up to its last block, so that nothing is skipped.
        """
        max_blocks = min(limit + 1, MAX_ROWS // len(terms))
        parameters = {
            "keys": self._dialect.key_values(terms),
            "first": begin // BLOCK,
            "last": end // BLOCK,
            "limit": max_blocks,
        }
        blocks: defaultdict[int, int] = defaultdict(int)
        of_term: defaultdict[str, list[int]] = defaultdict(list)
        for term, block, bits in connection.execute(self._walks[newest_first], parameters):
            blocks[block] |= bits
            of_term[term].append(block)
        cut = [
            sorted(term_blocks, reverse=newest_first)[-1]
            for term_blocks in of_term.values()
            if len(term_blocks) == max_blocks
        ]
        edge = sorted(cut, reverse=newest_first)[0] if cut else None
        positions = sorted(
            (
                position
                for block, bits in blocks.items()
                if edge is None or (block >= edge if newest_first else block <= edge)
                for position in _positions_of(block, bits)
                if begin < position <= end
            ),
            reverse=newest_first,
        )
        if len(positions) > limit:
            return positions[:limit], positions[limit - 1]
        if edge is None:
            return positions, None
        return positions, edge * BLOCK if newest_first else edge * BLOCK + BLOCK - 1


def _positions_of(block: int, bits: int) -> Iterator[int]:
    bits &= BLOCK_BITS  # whatever a damaged row has, this ends
    while bits:
        lowest = bits & -bits
        yield block * BLOCK + lowest.bit_length() - 1
        bits ^= lowest


def read_events_at(connection: Connection, positions: Sequence[int], max_bytes: int) -> tuple[list[EventRow], bool]:
    """Return the events at these positions, in their order, and whether some are left out because of their size.

    Events that are no longer in the history or the audit trail are skipped.
    """
    sizes = {
        position: (size, table)
        for table in (events, audit)
        for position, size in connection.execute(
            select(table.c.position, func.length(table.c.message)).where(table.c.position.in_(positions))
        )
    }
    existing = [position for position in positions if position in sizes]
    before = accumulate((sizes[position][0] for position in existing), initial=0)
    fitting = [position for position, size in zip(existing, before, strict=False) if size < max_bytes]
    rows = {
        row.position: EventRow(row.position, row.job_key, row.message, None)
        for table in (events, audit)
        if (table_positions := [position for position in fitting if sizes[position][1] is table])
        for row in connection.execute(
            select(table.c.position, table.c.job_key, table.c.message).where(table.c.position.in_(table_positions))
        )
    }
    return [rows[position] for position in fitting], len(fitting) < len(existing)
