"""Running totals: all that happened to a kind up to the end of an hour, so that any span is a difference of two.

The rollups of an hour are written one by one while it lasts. When it is over they are folded: added to the total before
it, as that hour's running total, and deleted. A rollup is either in its table or in the totals, never in both; one that
comes late, from a server whose clock is behind, waits in its table and is folded into the totals from its hour on.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec import json
from sqlalchemy import Connection, Integer, Select, and_, bindparam, delete, func, select

from jobledger_service.core.store.cells import json_text
from jobledger_service.core.store.dialects import Dialect
from jobledger_service.core.store.row_sets import RowSets
from jobledger_service.core.store.tables import rollups, running_totals

from .activity import Activity

KINDS_PER_STEP: Final = 20


def text_of(activity: Activity) -> str:
    """Return an activity as it is stored: for each measure its total, then its counts by bucket."""
    return json_text({measure: [total, *activity.counts[measure]] for measure, total in activity.totals.items()})


def activity_of(text: str | None) -> Activity:
    """Return the activity of a stored text; nothing happened before the first total."""
    stored: dict[str, list[int]] = json.decode(text) if text else {}
    return Activity({m: numbers[0] for m, numbers in stored.items()}, {m: numbers[1:] for m, numbers in stored.items()})


class RunningTotals:
    """The statements over rollups and running totals, built once."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._row_sets = RowSets(dialect)
        self._wanted = dialect.keys().subquery("wanted")
        self._first_unfolded = (
            select(rollups.c.owner, rollups.c.hour)
            .where(rollups.c.owner > bindparam("after"))
            .order_by(rollups.c.owner, rollups.c.hour)
            .limit(1)
        )
        self._kinds_of_hour = (
            select(rollups.c.kind)
            .where(rollups.c.owner == bindparam("of"), rollups.c.hour == bindparam("at"))
            .distinct()
            .limit(KINDS_PER_STEP)
        )
        of_hour = and_(
            rollups.c.owner == bindparam("of"),
            rollups.c.hour == bindparam("at"),
            rollups.c.kind.in_(dialect.keys()),
        )
        # Batches of late events lock rows of the same hour, in this order.
        self._lock = select(rollups.c.kind).where(of_hour).order_by(*rollups.primary_key).with_for_update()
        self._take = (
            delete(rollups)
            .where(of_hour)
            .returning(rollups.c.kind, rollups.c.measure, rollups.c.bucket, rollups.c["count"], rollups.c.total)
        )
        self._before = self._latest()
        self._later = select(running_totals.c.kind, running_totals.c.hour, running_totals.c.activity).where(
            running_totals.c.owner == bindparam("owner"),
            running_totals.c.kind.in_(dialect.keys()),
            running_totals.c.hour >= bindparam("hour"),
        )

    def _latest(self) -> Select[Any]:
        """Return the statement of the newest total before an hour, for each of some kinds: one seek each."""
        kind = self._wanted.c[0]
        newest = (
            select(running_totals.c.activity)
            .where(
                running_totals.c.owner == bindparam("owner"),
                running_totals.c.kind == kind,
                running_totals.c.hour < bindparam("hour", type_=Integer),
            )
            .order_by(running_totals.c.hour.desc())
            .limit(1)
            .correlate(self._wanted)
        )
        return select(kind, newest.scalar_subquery())

    def before(self, connection: Connection, owner: str, kinds: Iterable[str], hour: int) -> dict[str, Activity]:
        """Return, by kind, all that was folded of the time before an hour."""
        wanted = {"owner": owner, "keys": self._dialect.key_values(kinds), "hour": hour}
        return {kind: activity_of(text) for kind, text in connection.execute(self._before, wanted)}

    def unfolded(self, connection: Connection, before: int) -> tuple[str, int] | None:
        """Return an owner and an hour before `before` whose rollups are to be folded, the oldest; None for none."""
        owner = ""
        while found := connection.execute(self._first_unfolded, {"after": owner}).first():
            owner, hour = found
            if hour < before:
                return owner, hour
        return None

    def fold(self, connection: Connection, owner: str, hour: int) -> int:
        """Fold the rollups of an hour, of at most 20 kinds at once; return how many rollups these were."""
        place = {"of": owner, "at": hour}
        kinds = connection.execute(self._kinds_of_hour, place).scalars().all()
        connection.execute(self._lock, place | {"keys": self._dialect.key_values(kinds)}).all()
        taken = connection.execute(self._take, place | {"keys": self._dialect.key_values(kinds)}).all()
        added: dict[str, Activity] = {}
        for kind, measure, bucket, count, total in taken:
            added.setdefault(kind, Activity()).put(measure, bucket, count, total)
        if taken:
            self._write(connection, owner, hour, added)
        return len(taken)

    def _write(self, connection: Connection, owner: str, hour: int, added: dict[str, Activity]) -> None:
        """Add to the totals of an hour, which may be new, and to those of later hours, which are rarely there."""
        totals = {(kind, hour): total for kind, total in self.before(connection, owner, added, hour).items()}
        wanted = {"owner": owner, "keys": self._dialect.key_values(added), "hour": hour}
        later = {(kind, at): activity_of(text) for kind, at, text in connection.execute(self._later, wanted)}
        totals |= later
        rows = []
        for (kind, at), total in sorted(totals.items()):
            total.add(added[kind])
            rows.append({"owner": owner, "kind": kind, "hour": at, "activity": text_of(total)})
        old = [row for row in rows if (row["kind"], row["hour"]) in later]
        new = [row for row in rows if (row["kind"], row["hour"]) not in later]
        self._row_sets.update(connection, running_totals, old)
        self._row_sets.insert(connection, running_totals, new)

    def walk(
        self, connection: Connection, owner: str, hours: range, step: int, earlier: Mapping[str, Activity]
    ) -> Iterator[tuple[str, int, Activity]]:
        """Yield what was folded in each point of a span that has any: kind, number (hour // step) and activity.

        `hours` is the span, `step` the hours of a point, aligned to 1970; `earlier` are the totals before the span, by
        kind.
        """
        if not earlier:
            return
        last = dict(earlier)
        ends = _ends(self._dialect, owner, hours, step)
        for kind, hour, text in connection.execute(ends, {"keys": self._dialect.key_values(earlier)}):
            until = activity_of(text)
            yield kind, hour // step, until.since(last[kind])
            last[kind] = until


def _ends(dialect: Dialect, owner: str, hours: range, step: int) -> Select[Any]:
    """Return the statement of the last totals of kinds in each point of a span that has one, in the order of hours."""
    total, wanted = running_totals.c, dialect.keys().subquery("wanted")
    last = (
        select(total.kind, func.max(total.hour).label("hour"))
        .select_from(wanted.join(running_totals, total.kind == wanted.c[0]))
        .where(total.owner == owner, total.hour >= hours.start, total.hour < hours.stop)
        .group_by(total.kind, total.hour.op("/")(step))
        .subquery("last")
    )
    of_point = and_(total.owner == owner, total.kind == last.c.kind, total.hour == last.c.hour)
    found = select(total.kind, total.hour, total.activity).select_from(last.join(running_totals, of_point))
    return found.order_by(last.c.kind, last.c.hour)
