"""The kinds that owners paused: claims skip them, and waiting jobs show it. Rows of jobs do not hold it."""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct as MsgStruct
from msgspec.structs import asdict
from sqlalchemy import ColumnElement, Connection, ScalarSelect, Select, exists, func, select

from jobledger_service.core.database.cells import Row
from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.tables import counts, paused_kinds
from jobledger_service.core.model.chunk import Queue
from jobledger_service.core.model.micros import Micros

from .row_sets import RowSets


class PausedKind(MsgStruct, frozen=True):
    """A paused kind of an owner: why, by whom, since when, and when that was said last, in microseconds since 1970."""

    owner: str
    kind: str
    reason: str
    paused_by: str
    pause_time: Micros
    update_time: Micros

    @property
    def queue(self) -> Queue:
        """The queue that it stops."""
        return self.owner, self.kind


PAUSED_KIND_COLUMNS = tuple(paused_kinds.c[name] for name in PausedKind.__struct_fields__)


def is_paused(owner: ColumnElement[str], kind: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that a kind of an owner is paused: one look in the primary key."""
    pause = exists().where(paused_kinds.c.owner == owner, paused_kinds.c.kind == kind)
    return pause.correlate_except(paused_kinds)


def unless_paused(owner: ColumnElement[str], kind: ColumnElement[str]) -> ScalarSelect[Any]:
    """Return an owner, or NULL for a paused kind: a walk from there is empty, whatever number of chunks waits."""
    return select(owner).where(~is_paused(owner, kind)).scalar_subquery()


def paused_among(dialect: Dialect) -> Select[Any]:
    """Return the statement of the paused ones of some kinds of some owners."""
    owner, kind = paused_kinds.c.owner, paused_kinds.c.kind
    return select(owner, kind).where(owner.in_(dialect.keys("owners")), kind.in_(dialect.keys("kinds")))


class PausedKindRows:
    """The rows of paused kinds in transactions of batches. Those of one owner are changed by one at a time."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        of_owners = paused_kinds.c.owner.in_(dialect.keys())
        self._load = select(*PAUSED_KIND_COLUMNS).where(of_owners)
        self._row_sets = RowSets(dialect)

    def lock(self, connection: Connection, owners: Iterable[str]) -> dict[Queue, PausedKind]:
        """Lock and return all paused kinds of these owners; no other transaction changes them until the commit."""
        names = sorted(owners)
        self._dialect.lock(connection, *(f"paused kinds of {owner}" for owner in names))
        rows = connection.execute(self._load, {"keys": self._dialect.key_values(names)})
        return {paused.queue: paused for paused in (PausedKind(*row) for row in rows)}

    def waiting(self, connection: Connection, queue: Queue) -> int:
        """Return how many chunks of a kind are pending."""
        owner, kind = queue
        total = select(func.coalesce(func.sum(counts.c.chunks_pending), 0))
        return int(connection.scalar(total.where(counts.c.owner == owner, counts.c.kind == kind)) or 0)

    def save(
        self, connection: Connection, before: Mapping[Queue, PausedKind], now: Mapping[Queue, PausedKind | None]
    ) -> None:
        """Write what differs between two states of owners that are locked."""
        changed = {queue: pause for queue, pause in sorted(now.items()) if pause != before.get(queue)}
        gone = [{"owner": owner, "kind": kind} for (owner, kind), pause in changed.items() if pause is None]
        self._row_sets.delete(connection, paused_kinds, gone)
        rows = [asdict(pause) for pause in changed.values() if pause is not None]
        self._row_sets.insert(connection, paused_kinds, [row for row in rows if _queue(row) not in before])
        self._row_sets.update(connection, paused_kinds, [row for row in rows if _queue(row) in before])


def _queue(row: Row) -> Queue:
    return row["owner"], row["kind"]
