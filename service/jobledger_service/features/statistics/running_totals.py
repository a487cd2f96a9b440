"""Running totals: all that happened to a kind up to the end of an hour, so that any span is a difference of two.

The rollups of an hour are written one by one while it lasts. When it is over they are folded: added to the total before
it, as that hour's running total, and deleted. A rollup is either in its table or in the totals, never in both; one that
comes late, from a server whose clock is behind, waits in its table and is folded into the totals from its hour on. Old
totals merge into one for each kind, and kinds without other rows are deleted.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any, Final

from msgspec import json
from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    tuple_,
    update,
)

from jobledger_service.core.database.cells import json_text
from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.rows.row_sets import RowSets
from jobledger_service.core.database.tables import counts

from .rollup import Activity
from .tables import rollups, running_totals

KINDS_PER_STEP: Final = 20
ROLLUPS_PER_STEP: Final = 2_000
"""A kind has more rollups in an hour only if its jobs took very different times: it is then folded by itself."""
BASE_HOUR: Final = 0
"""The hour of a kind's compacted total: it precedes every real hour."""


def text_of(activity: Activity) -> str:
    """Return an activity as it is stored: for each measure its total, then its counts by bucket."""
    return json_text({measure: [total, *activity.counts[measure]] for measure, total in activity.totals.items()})


def activity_of(text: str | None) -> Activity:
    """Return the activity of a stored text; None stands for no activity."""
    stored: dict[str, list[int]] = json.decode(text) if text else {}
    return Activity({m: numbers[0] for m, numbers in stored.items()}, {m: numbers[1:] for m, numbers in stored.items()})


class RunningTotals:
    """The statements over rollups and running totals, built once."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._row_sets = RowSets(dialect)
        self._kinds = dialect.keys().subquery("kinds")
        self._first_unfolded = (
            select(rollups.c.owner, rollups.c.hour)
            .where(rollups.c.owner > bindparam("after"))
            .order_by(rollups.c.owner, rollups.c.hour)
            .limit(1)
        )
        self._kinds_of_hour = (
            select(rollups.c.kind, func.count())
            .where(rollups.c.owner == bindparam("of"), rollups.c.hour == bindparam("at"))
            .group_by(rollups.c.kind)
            .order_by(rollups.c.kind)
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
        kind = self._kinds.c[0]
        newest = (
            select(running_totals.c.activity)
            .where(
                running_totals.c.owner == bindparam("owner"),
                running_totals.c.kind == kind,
                running_totals.c.hour < bindparam("hour", type_=Integer),
            )
            .order_by(running_totals.c.hour.desc())
            .limit(1)
            .correlate(self._kinds)
        )
        return select(kind, newest.scalar_subquery())

    def before(self, connection: Connection, owner: str, kinds: Iterable[str], hour: int) -> dict[str, Activity]:
        """Return, by kind, all that was folded of the time before an hour."""
        parameters = {"owner": owner, "keys": self._dialect.key_values(kinds), "hour": hour}
        return {kind: activity_of(text) for kind, text in connection.execute(self._before, parameters)}

    def unfolded(self, connection: Connection, before: int) -> tuple[str, int] | None:
        """Return an owner and an hour before `before` whose rollups are to be folded, the oldest; None when all are."""
        owner = ""
        while first := connection.execute(self._first_unfolded, {"after": owner}).first():
            owner, hour = first
            if hour < before:
                return owner, hour
        return None

    def fold(self, connection: Connection, owner: str, hour: int) -> int:
        """Fold the rollups of an hour, of at most 20 kinds and 2,000 rollups at once; return how many these were.

        Of one kind all are folded at once.
        """
        place = {"of": owner, "at": hour}
        kind_counts = connection.execute(self._kinds_of_hour, place).all()
        through = list(accumulate(count for _, count in kind_counts))
        kinds = [kind for kind, _ in kind_counts[: max(1, bisect_right(through, ROLLUPS_PER_STEP))]]
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
        parameters = {"owner": owner, "keys": self._dialect.key_values(added), "hour": hour}
        later = {(kind, at): activity_of(text) for kind, at, text in connection.execute(self._later, parameters)}
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
    total, shown_kinds = running_totals.c, dialect.keys().subquery("shown_kinds")
    last = (
        select(total.kind, func.max(total.hour).label("hour"))
        .select_from(shown_kinds.join(running_totals, total.kind == shown_kinds.c[0]))
        .where(total.owner == owner, total.hour >= hours.start, total.hour < hours.stop)
        .group_by(total.kind, total.hour.op("/")(step))
        .subquery("last")
    )
    of_point = and_(total.owner == owner, total.kind == last.c.kind, total.hour == last.c.hour)
    totals = select(total.kind, total.hour, total.activity).select_from(last.join(running_totals, of_point))
    return totals.order_by(last.c.kind, last.c.hour)


_total, _count = running_totals.c, counts.c
_of_kind = and_(_total.owner == bindparam("of"), _total.kind == bindparam("named"))
_empty: Final = and_(_count.jobs == 0, _count.chunks_pending == 0, _count.chunks_processing == 0)


_old = (
    select(_total.owner, _total.kind, _total.hour)
    .where(_total.hour > BASE_HOUR, _total.hour < bindparam("before"))
    .order_by(_total.hour)
    .limit(bindparam("limit"))
)
_last = _total.hour == bindparam("last")
_drop_older = delete(running_totals).where(_of_kind, _total.hour < bindparam("last"))
_make_base = update(running_totals).where(_of_kind, _last).values(hour=BASE_HOUR)
_drop_base = delete(running_totals).where(_of_kind, _total.hour == BASE_HOUR)


def compact(connection: Connection, before: int, limit: int) -> int:
    """Replace at most `limit` totals of hours before `before` by the newest of each kind; return how many.

    Totals only grow, so the newest stands for all before it: differences of later ones stay as they were.
    """
    old = connection.execute(_old, {"before": before, "limit": limit}).all()
    newest = {(owner, kind): hour for owner, kind, hour in old}
    if newest:
        bases = [{"of": owner, "named": kind, "last": hour} for (owner, kind), hour in sorted(newest.items())]
        connection.execute(_drop_older, bases)
        connection.execute(_make_base, bases)
    return len(old)


def forget_kinds(connection: Connection, after: tuple[str, str], limit: int) -> tuple[str, str]:
    """Delete those of at most `limit` kinds after a place that have no other rows; return the next place."""
    page = connection.execute(_kinds(), {"after_owner": after[0], "after_kind": after[1], "limit": limit}).all()
    unused = [{"of": row.owner, "named": row.kind} for row in page if row.unused]
    if unused:
        connection.execute(_drop_base, unused)
        connection.execute(_drop_counts(), unused)
    return (page[-1].owner, page[-1].kind) if len(page) == limit else ("", "")


def _kinds() -> Select[Any]:
    """Return the statement of the kinds after a place, each with whether it has only a base."""
    place = tuple_(bindparam("after_owner"), bindparam("after_kind"))
    page = (
        select(_count.owner, _count.kind)
        .where(tuple_(_count.owner, _count.kind) > place)
        .distinct()
        .order_by(_count.owner, _count.kind)
        .limit(bindparam("limit"))
        .subquery("page")
    )
    remaining: list[ColumnElement[bool]] = [
        exists().where(_count.owner == page.c.owner, _count.kind == page.c.kind, ~_empty),
        exists().where(_total.owner == page.c.owner, _total.kind == page.c.kind, _total.hour > BASE_HOUR),
        exists().where(rollups.c.owner == page.c.owner, rollups.c.kind == page.c.kind),
    ]
    return select(page.c.owner, page.c.kind, (~or_(*remaining)).label("unused")).order_by(page.c.owner, page.c.kind)


def _drop_counts() -> Any:  # noqa: ANN401  SQLAlchemy's
    """Return the statement that deletes the empty counts of a kind and skips those that a commit has locked."""
    mine = and_(_count.owner == bindparam("of"), _count.kind == bindparam("named"), _empty)
    free = select(_count.state).where(mine).with_for_update(skip_locked=True)
    return delete(counts).where(mine, _count.state.in_(free))
