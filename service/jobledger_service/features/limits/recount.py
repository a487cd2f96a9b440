"""Makes right what limits count: the jobs that hold their slots, and those that wait for one.

One statement sees one snapshot of the limits and jobs of an owner; the difference is then added, so that no limit is
locked while jobs are being read.
"""

from collections import defaultdict
from typing import Any, Final

from sqlalchemy import Connection, LargeBinary, Text, and_, bindparam, literal, null, select, union_all, update

from jobledger_service.core.database.rows.job_rows import read_current
from jobledger_service.core.database.tables import jobs

from .tables import limits

_CORRECT: Final = (
    update(limits)
    .where(limits.c.limit_key == bindparam("key"))
    .values(running=limits.c.running + bindparam("more_running"), waiting=limits.c.waiting + bindparam("more_waiting"))
)


def correct_limits(connection: Connection, after: str) -> tuple[int, str | None]:
    """Correct the limits of the next owner; return how many were wrong, and the owner."""
    owner: str | None = connection.execute(
        select(limits.c.owner).where(limits.c.owner > after).order_by(limits.c.owner).limit(1)
    ).scalar()
    if owner is None:
        return 0, None
    differences: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    recorded = set()
    for key, running, waiting, body, parked_for in connection.execute(_slots(owner)):
        if key is not None:
            recorded.add(key)
            differences[key][0] -= running
            differences[key][1] -= waiting
        for slot in read_current(body).slots if body else ():
            differences[slot][0] += 1
        if parked_for:
            differences[parked_for][1] += 1
    wrong = sorted(key for key in recorded if any(differences[key]))
    if wrong:
        rows = [{"key": key, "more_running": differences[key][0], "more_waiting": differences[key][1]} for key in wrong]
        connection.execute(_CORRECT, rows)
    return len(wrong), owner


def _slots(owner: str) -> Any:  # noqa: ANN401  a union
    """Return the statement of an owner's limits with what they count, and of the jobs that may hold a slot or wait."""
    recorded = select(
        limits.c.limit_key, limits.c.running, limits.c.waiting, null().cast(LargeBinary), null().cast(Text)
    )
    nothing = (null().cast(Text), literal(0), literal(0))
    holding = select(*nothing, jobs.c.current, jobs.c.parked_for)
    is_counted = and_(jobs.c.owner == owner, jobs.c.end_time.is_(None))
    return union_all(recorded.where(limits.c.owner == owner), holding.where(is_counted))
