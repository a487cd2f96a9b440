"""The rows of concurrency limits: in the transaction of a batch, and as they are read."""

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec.structs import asdict
from sqlalchemy import Connection, and_, bindparam, delete, exists, select, update

from jobledger_service.core.store.dialects import Dialect
from jobledger_service.core.store.engines import Database
from jobledger_service.core.store.row_sets import RowSets
from jobledger_service.core.store.tables import jobs, limits, limits_removable, parked, slots_free

from .rules import LAST_SCOPE, Limit, limit_key

_COLUMNS: Final = [column for column in limits.c if column.name != "limit_key"]
_KEY: Final = limits.c.limit_key
_PARKED_ORDER: Final = (jobs.c.priority.desc(), jobs.c.create_time, jobs.c.job_key)
_URGENCY: Final = (-jobs.c.priority, jobs.c.create_time, jobs.c.job_key)
_WAITED_FOR: Final = (
    select(_KEY, limits.c.max_running - limits.c.running)
    .where(slots_free, bindparam("after") < _KEY)
    .order_by(_KEY)
    .limit(bindparam("most"))
)


SLOTS_DUE: Final = exists().select_from(limits).where(slots_free)
"""The condition on which a slot is free for which jobs wait."""


class LimitRows:
    """The rows of limits in the transactions of batches. Each method locks them in the order of their keys."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._any = select(_KEY).limit(1)
        self._load = select(*_COLUMNS).where(_KEY.in_(dialect.keys())).order_by(_KEY).with_for_update()
        of = update(limits).where(bindparam("of") == _KEY)
        self._set = of.values(max_running=bindparam("to"), by_job=bindparam("by"), set_time=bindparam("at"))
        self._count = of.values(
            running=limits.c.running + bindparam("more"), waiting=limits.c.waiting + bindparam("longer")
        )

    def load(self, connection: Connection, keys: Iterable[str]) -> dict[str, Limit]:
        """Return those that were ever set, locked."""
        if connection.execute(self._any).first() is None:
            return {}
        found = connection.execute(self._load, {"keys": self._dialect.key_values(keys)})
        return {limit.key: limit for limit in (Limit(*row) for row in found)}

    def save(
        self,
        connection: Connection,
        new: Mapping[str, Limit],
        changed: Mapping[str, Limit],
        counts: Mapping[str, tuple[int, int]],
    ) -> None:
        """Insert new limits, write those that were set again, and add how many more jobs hold or await a slot."""
        rows = [{"limit_key": key, **asdict(one), "running": 0, "waiting": 0} for key, one in sorted(new.items())]
        RowSets(self._dialect).insert(connection, limits, rows)
        if changed:
            rows = [
                {"of": key, "to": one.max_running, "by": one.by_job, "at": one.set_time}
                for key, one in sorted(changed.items())
            ]
            connection.execute(self._set, rows)
        counted = [{"of": key, "more": more, "longer": longer} for key, (more, longer) in sorted(counts.items())]
        if counted := [row for row in counted if row["more"] or row["longer"]]:
            connection.execute(self._count, counted)


class LimitStore:
    """Limits, and what waits for them. Every method is one transaction, and raises StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._place = ""

    def page(self, owner: str, after: str, limit: int) -> tuple[list[Limit], str | None]:
        """Return the limits in force, by scope, after one, among as many as `limit` that are known.

        The second value is the scope of the last one that was read, None on the last page.
        """
        mine = (limit_key(owner, after) < _KEY, limit_key(owner, LAST_SCOPE) > _KEY)
        wanted = select(*_COLUMNS).where(*mine).order_by(_KEY).limit(limit + 1)
        with self._database.read() as connection:
            found = [Limit(*row) for row in connection.execute(wanted)]
        page = found[:limit]
        return [one for one in page if one.max_running is not None], page[-1].scope if len(found) > limit else None

    def free_slots(self, limit: int) -> list[str]:
        """Return at most `limit` parked jobs that can get a slot, the most urgent and oldest of each limit.

        It looks at no more than `limit` limits, in turn: a call continues where the last one ended.
        """
        with self._database.read() as connection:
            waited_for = list(connection.execute(_WAITED_FOR, {"after": self._place, "most": limit}))
            if len(waited_for) < limit and self._place:
                waited_for += connection.execute(_WAITED_FOR, {"after": "", "most": limit - len(waited_for)})
            found: dict[str, tuple[int, int]] = {}
            for key, free in waited_for:
                first = select(*_URGENCY).where(jobs.c.parked_for == key, parked).order_by(*_PARKED_ORDER)
                left = limit - len(found)
                for *urgency, job in connection.execute(first.limit(left if free is None else min(free, left))):
                    found[job] = tuple(urgency)
                self._place = key
                if len(found) >= limit:
                    break
        return sorted(found, key=lambda job: (found[job], job))

    def trim(self, before: int, limit: int) -> int:
        """Forget at most `limit` limits that hold nothing, are not an operator's and were set before a time.

        A limit that a commit holds is passed over: it may be about to be taken, and a row that was read before it
        was locked would be deleted under the job that took it.
        """
        idle = and_(limits.c.running == 0, limits.c.waiting == 0, limits.c.set_time < before, limits_removable)
        gone = select(limits.c.limit_key).where(idle).order_by(limits.c.set_time).limit(limit)
        gone = gone.with_for_update(skip_locked=True)
        with self._database.write() as connection:
            if not self._database.dialect.try_lock(connection, "trim limits"):
                return 0
            return connection.execute(delete(limits).where(limits.c.limit_key.in_(gone))).rowcount
