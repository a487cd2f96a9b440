"""Terms of events: an inverted index from what an audit asks for to the positions of events.

A term is an owner or all owners, a type of change and, or not, who did it and the kind of the job. The positions of a
term are the bits of numbers, one for each block of positions, so that a bulk run over many jobs makes few rows.
"""

import base64
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from sqlalchemy import BigInteger, Connection, bindparam, update

from jobledger_service.core.database.cells import Row, json_text
from jobledger_service.core.database.tables import event_terms
from jobledger_service.core.model.history.change import ChangeType

from .row_sets import RowSets

BLOCK: Final = 32
"""The number of positions of a row."""
BLOCK_BITS: Final = (1 << BLOCK) - 1
INDEXED: Final = frozenset(ChangeType) - {
    ChangeType.CLAIMED,
    ChangeType.PROGRESSED,
    ChangeType.CHUNK_COMPLETED,
    ChangeType.CHUNK_RELEASED,
}
"""All but the work on chunks that goes well: that is nearly all changes, and attempts show it too."""
_DIGEST: Final = 12
_CLEAR: Final = (
    update(event_terms)
    .where(event_terms.c.term == bindparam("of"), event_terms.c.block == bindparam("at"))
    .values(bits=event_terms.c.bits.bitwise_and(bindparam("kept", type_=BigInteger)))
)


class EventTerms(NamedTuple):
    """What the terms of an event are made from; of each change its type and its actor."""

    position: int
    owner: str
    kind: str
    changes: Iterable[tuple[ChangeType, str]]


def name_of(actor: str) -> str | None:
    """Return the actor `NAME/` that stands for all keys of an actor's name, None when it is of no key."""
    name, slash, _ = actor.partition("/")
    return name + slash if slash else None


@lru_cache(maxsize=4096)
def term(owner: str | None, change: ChangeType, actor: str | None, kind: str | None) -> str:
    """Return the term of these; None means any."""
    named = json_text((owner, change, actor, kind)).encode()
    return base64.urlsafe_b64encode(hashlib.blake2b(named, digest_size=_DIGEST).digest()).decode()


@lru_cache(maxsize=4096)
def _terms(owner: str, change: ChangeType, actor: str, kind: str) -> Sequence[str]:
    actors = {None, actor, name_of(actor)}
    return [term(of, change, by, to) for of in (owner, None) for by in actors for to in (kind, None)]


def term_rows(events: Iterable[EventTerms]) -> list[Row]:
    """Return the bits that these events set in the rows of terms, in the order of their keys."""
    alike: defaultdict[tuple[str, ChangeType, str, str, int], int] = defaultdict(int)
    for event in events:
        block, bit = divmod(event.position, BLOCK)
        for change, actor in event.changes:
            if change in INDEXED:
                alike[event.owner, change, actor, event.kind, block] |= 1 << bit
    bits: defaultdict[tuple[str, int], int] = defaultdict(int)
    for (*named, block), block_bits in alike.items():
        for name in _terms(*named):
            bits[name, block] |= block_bits
    return [{"term": name, "block": block, "bits": block_bits} for (name, block), block_bits in sorted(bits.items())]


def forget_terms(connection: Connection, row_sets: RowSets, forgotten: Iterable[EventTerms]) -> None:
    """Clear the bits of events that are no more, and delete the rows that are empty then."""
    rows = term_rows(forgotten)
    if rows:
        connection.execute(_CLEAR, [{"of": row["term"], "at": row["block"], "kept": ~row["bits"]} for row in rows])
        remove_empty(connection, row_sets, rows)


def remove_empty(connection: Connection, row_sets: RowSets, rows: Iterable[Row]) -> None:
    """Delete those of these rows that have no bits."""
    empty = [{"term": row["term"], "block": row["block"], "bits": 0} for row in rows]
    row_sets.delete(connection, event_terms, empty)
