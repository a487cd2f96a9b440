"""The rows of concurrency limits: in the transaction of a batch, and as they are read."""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from msgspec.structs import asdict
from sqlalchemy import Connection, bindparam, delete, exists, select, update

from jobledger_service.core.database.cells import Row
from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.rows.paused_kinds import PAUSED_KIND_COLUMNS, PausedKind
from jobledger_service.core.database.rows.row_sets import RowSets
from jobledger_service.core.database.tables import jobs, paused_kinds
from jobledger_service.core.model.bounds.slots import scope_of_key
from jobledger_service.core.read.paging import last_place
from jobledger_service.core.write.parked_jobs import BY_URGENCY

from .rules import Limit, in_force
from .tables import limits, limits_paused, limits_spreading, limits_unused, slots_free

_ANY: Final = "SELECT 1 FROM limits LIMIT 1"
_COLUMNS: Final = [column for column in limits.c if column.name != "limit_key"]
_KEY: Final = limits.c.limit_key
_WAITED_FOR: Final = (
    select(_KEY, limits.c.max_running - limits.c.running)
    .where(slots_free, bindparam("after") < _KEY)
    .order_by(_KEY)
    .limit(bindparam("limit"))
)
_SPREADING: Final = select(*_COLUMNS).where(limits_spreading).order_by(_KEY).limit(1).with_for_update()

SLOTS_DUE: Final = exists().select_from(limits).where(slots_free)
"""The condition on which a slot is free for which jobs wait."""
VALUES_DUE: Final = exists().select_from(limits).where(limits_spreading)
"""The condition on which a limit for each value was set, and values have yet to get its number."""


class LimitRows:
    """The rows of limits in transactions of batches, locked in one order: those for each value, then others, by key.

    A value of a label gets its row under the lock of the limit for each value, and who waited for that sees the row.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._load = select(*_COLUMNS).where(_KEY.in_(dialect.keys())).order_by(_KEY).with_for_update()
        self._paused = select(_KEY).where(limits_paused, _KEY.in_(dialect.keys()))
        self._row_sets = RowSets(dialect)

    def load(self, connection: Connection, keys: Collection[str]) -> dict[str, Limit]:
        """Return the limits with rows, locked."""
        if connection.exec_driver_sql(_ANY).first() is None:
            return {}
        of_each = {key for key in keys if scope_of_key(key).of_each_value}
        rows = [
            Limit(*row)
            for part in (of_each, {*keys} - of_each)
            if part
            for row in connection.execute(self._load, {"keys": self._dialect.key_values(part)})
        ]
        return {limit.key: limit for limit in rows}

    def paused(self, connection: Connection, keys: Collection[str]) -> set[str]:
        """Return the keys of paused limits, without locking them."""
        if not keys:
            return set()
        return set(connection.scalars(self._paused, {"keys": self._dialect.key_values(keys)}))

    def save(self, connection: Connection, new: Iterable[Limit], changed: Iterable[Limit]) -> None:
        """Insert new rows, and write others, which are locked, in the order of their keys."""
        self._row_sets.insert(connection, limits, _rows(new))
        self._row_sets.update(connection, limits, _rows(changed))


def _rows(limits_: Iterable[Limit]) -> list[Row]:
    return [{"limit_key": limit.key, **asdict(limit)} for limit in sorted(limits_, key=lambda limit: limit.key)]


class LimitStore:
    """Limits, and what waits for them. Every method is one transaction, and raises StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._place = ""

    def page(self, owner: str, after: tuple[str, ...] | None, limit: int) -> tuple[list[Limit], tuple[str] | None]:
        """Return the limits in force among the next `limit` rows after a key.

        The second value is the key of the last row, None on the last page.
        """
        mine = (max(after[0] if after else "", f"{owner}/") < _KEY, f"{owner}0" > _KEY)
        query = select(*_COLUMNS).where(*mine).order_by(_KEY).limit(limit + 1)
        with self._database.read() as connection:
            rows = [Limit(*row) for row in connection.execute(query)]
            page = rows[:limit]
            each = self._followed(connection, page)
        limits_in_force = (in_force(row, each.get(row.each_key), owner, row.over) for row in page)
        shown = [
            in_effect for in_effect in limits_in_force if in_effect is not None and (in_effect.is_set or in_effect.used)
        ]
        return shown, last_place(rows, limit, "key")

    def _followed(self, connection: Connection, page: Sequence[Limit]) -> dict[str, Limit]:
        """Return the limits for each value that these follow."""
        dialect = self._database.dialect
        keys = {limit.each_key for limit in page if not limit.is_set and limit.each_key}
        query = select(*_COLUMNS).where(_KEY.in_(dialect.keys()))
        each = (Limit(*row) for row in connection.execute(query, {"keys": dialect.key_values(keys)}))
        return {limit.key: limit for limit in each}

    def paused(
        self, owner: str, after: tuple[str, ...] | None, limit: int
    ) -> tuple[list[PausedKind], tuple[str] | None]:
        """Return at most `limit` paused kinds of an owner after one, by name, and the last if there are more."""
        query = select(*PAUSED_KIND_COLUMNS).where(
            paused_kinds.c.owner == owner, paused_kinds.c.kind > (after[0] if after else "")
        )
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(paused_kinds.c.kind).limit(limit + 1))
            page = [PausedKind(*row) for row in rows]
        return page[:limit], last_place(page, limit, "kind")

    def free_slots(self, limit: int) -> list[str]:
        """Return at most `limit` parked jobs that can get a slot, the most urgent and oldest of each limit.

        It looks at no more than `limit` limits, in turn: a call continues where the last one ended.
        """
        with self._database.read() as connection:
            waited_for = list(connection.execute(_WAITED_FOR, {"after": self._place, "limit": limit}))
            if len(waited_for) < limit and self._place:
                waited_for += connection.execute(_WAITED_FOR, {"after": "", "limit": limit - len(waited_for)})
            urgencies: dict[str, tuple[int, int]] = {}
            for key, free in waited_for:
                first = BY_URGENCY.where(jobs.c.parked_for == key)
                room = limit - len(urgencies)
                for *urgency, job in connection.execute(first.limit(room if free is None else min(free, room))):
                    urgencies[job] = tuple(urgency)
                self._place = key
                if len(urgencies) >= limit:
                    break
        return sorted(urgencies, key=lambda job: (urgencies[job], job))

    def spread(self, limit: int) -> int:
        """Copy the number of a limit for each value to at most `limit` rows of values; return how many it visited.

        Its ceiling lowers the numbers that the owner's admin set for values.
        """
        keys, key_values = self._database.dialect.keys(), self._database.dialect.key_values
        with self._database.write() as connection:
            row = connection.execute(_SPREADING).first()
            if row is None:
                return 0
            each = Limit(*row)
            values = f"{each.owner}/label:{each.over.label}"
            within = (max(f"{values}<", each.values_through or "") < _KEY, f"{values}>" > _KEY)  # "=" is between these
            unused = connection.scalars(select(_KEY).where(*within).order_by(_KEY).limit(limit).with_for_update()).all()
            follow = update(limits).where(_KEY.in_(keys), ~limits.c.is_set).values(max_running=each.max_running)
            connection.execute(follow, {"keys": key_values(unused)})
            if each.ceiling is not None:
                above = (limits.c.is_set, limits.c.ceiling.is_(None), limits.c.max_running > each.ceiling)
                lower = update(limits).where(_KEY.in_(keys), *above).values(max_running=each.ceiling)
                connection.execute(lower, {"keys": key_values(unused)})
            through = unused[-1] if len(unused) == limit else None
            connection.execute(update(limits).where(limits.c.limit_key == each.key).values(values_through=through))
            return len(unused)

    def trim(self, limit: int) -> int:
        """Delete at most `limit` unused limits: without a number of their own, and without jobs.

        A limit that a commit has locked is skipped: that commit may grant a slot of it, and this statement, which read
        the row before, would delete it.
        """
        gone = select(_KEY).where(limits_unused).order_by(_KEY).limit(limit).with_for_update(skip_locked=True)
        with self._database.write() as connection:
            if not self._database.dialect.try_lock(connection, "trim limits"):
                return 0
            return connection.execute(delete(limits).where(_KEY.in_(gone))).rowcount
