"""Old statistics: totals merge into one for each kind, and kinds without other rows are deleted."""

from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, delete, exists, or_, select, tuple_, update

from jobledger_service.core.store.tables import counts, rollups, running_totals

BASE_HOUR: Final = 0
"""The hour of a kind's total of all that is not kept by the hour any more: it comes before every real hour."""

_total, _count = running_totals.c, counts.c
_of_kind = and_(_total.owner == bindparam("of"), _total.kind == bindparam("named"))
_empty: Final = and_(_count.jobs == 0, _count.chunks_pending == 0, _count.chunks_processing == 0)


_old = (
    select(_total.owner, _total.kind, _total.hour)
    .where(_total.hour > BASE_HOUR, _total.hour < bindparam("before"))
    .order_by(_total.hour)
    .limit(bindparam("most"))
)
_last = _total.hour == bindparam("last")
_drop_older = delete(running_totals).where(_of_kind, _total.hour < bindparam("last"))
_make_base = update(running_totals).where(_of_kind, _last).values(hour=BASE_HOUR)
_drop_base = delete(running_totals).where(_of_kind, _total.hour == BASE_HOUR)


def compact(connection: Connection, before: int, limit: int) -> int:
    """Replace at most `limit` totals of hours before `before` by the newest of each kind; return how many.

    Totals only grow, so the newest stands for all before it: differences of later ones stay as they were.
    """
    old = connection.execute(_old, {"before": before, "most": limit}).all()
    newest = {(owner, kind): hour for owner, kind, hour in old}
    if newest:
        bases = [{"of": owner, "named": kind, "last": hour} for (owner, kind), hour in sorted(newest.items())]
        connection.execute(_drop_older, bases)
        connection.execute(_make_base, bases)
    return len(old)


def forget_kinds(connection: Connection, after: tuple[str, str], limit: int) -> tuple[str, str]:
    """Delete those of at most `limit` kinds after a place that have no other rows; return the next place."""
    found = connection.execute(_kinds(), {"after_owner": after[0], "after_kind": after[1], "most": limit}).all()
    unused = [{"of": row.owner, "named": row.kind} for row in found if row.unused]
    if unused:
        connection.execute(_drop_base, unused)
        connection.execute(_drop_counts(), unused)
    return (found[-1].owner, found[-1].kind) if len(found) == limit else ("", "")


def _kinds() -> Select[Any]:
    """Return the statement of the kinds after a place, each with whether there is nothing of it but a base."""
    place = tuple_(bindparam("after_owner"), bindparam("after_kind"))
    page = (
        select(_count.owner, _count.kind)
        .where(tuple_(_count.owner, _count.kind) > place)
        .distinct()
        .order_by(_count.owner, _count.kind)
        .limit(bindparam("most"))
        .subquery("page")
    )
    left: list[ColumnElement[bool]] = [
        exists().where(_count.owner == page.c.owner, _count.kind == page.c.kind, ~_empty),
        exists().where(_total.owner == page.c.owner, _total.kind == page.c.kind, _total.hour > BASE_HOUR),
        exists().where(rollups.c.owner == page.c.owner, rollups.c.kind == page.c.kind),
    ]
    return select(page.c.owner, page.c.kind, (~or_(*left)).label("unused")).order_by(page.c.owner, page.c.kind)


def _drop_counts() -> Any:  # noqa: ANN401  SQLAlchemy's
    """Return the statement that deletes the empty counts of a kind, but those that a commit holds, without waiting."""
    mine = and_(_count.owner == bindparam("of"), _count.kind == bindparam("named"), _empty)
    free = select(_count.state).where(mine).with_for_update(skip_locked=True)
    return delete(counts).where(mine, _count.state.in_(free))
