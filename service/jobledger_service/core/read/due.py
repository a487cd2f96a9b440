"""Finds due work with one small read: each condition has a partial index that contains only candidates."""

from collections.abc import Mapping
from typing import Final, TypeAlias

from sqlalchemy import BigInteger, BindParameter, ColumnElement, bindparam, exists, or_, select

from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.tables import chunks, delayed, ending, jobs, leased, of_service, scheduled_jobs
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.states import JobState

Time: TypeAlias = int | BindParameter[int]

_NOW: Final[BindParameter[int]] = bindparam("now", type_=BigInteger)
_LEASE_CUTOFF: Final[BindParameter[int]] = bindparam("lapsed", type_=BigInteger)
"""The time up to which ended leases expire, and runs time out."""
_CALENDAR: Final[BindParameter[int]] = bindparam("calendar", type_=BigInteger)
"""The time by which the dates that people name have come."""

HOLDS_DUE: Final = or_(
    exists().select_from(chunks).where(delayed, chunks.c.next_attempt_time <= _NOW),
    exists().select_from(jobs).where(scheduled_jobs, jobs.c.held_until <= _CALENDAR),
)
SERVICE_JOBS_DUE: Final = exists().select_from(chunks).where(of_service)


def overdue(now: Time, cutoff: Time) -> ColumnElement[bool]:
    """Return the condition of jobs whose deadline has come: CANCELLING ones by now, runs up to an earlier cutoff."""
    is_due = (jobs.c.deadline <= cutoff) | (jobs.c.state == JobState.CANCELLING.value)
    return ending & (jobs.c.deadline <= now) & is_due


def lapsed(cutoff: Time) -> ColumnElement[bool]:
    """Return the condition of chunks whose lease ended by a cutoff; the first time is that of their index."""
    return leased & (chunks.c.lease_check_time <= cutoff) & (chunks.c.lease_expire_time <= cutoff)


LEASES_DUE: Final = or_(
    exists().select_from(chunks).where(lapsed(_LEASE_CUTOFF)),
    exists().select_from(jobs).where(overdue(_NOW, _LEASE_CUTOFF)),
)


class SqlDueStore:
    """Finds what is due by `conditions`, by duty; leases and runs end `delay` microseconds after their time."""

    def __init__(self, database: Database, delay: int, conditions: Mapping[str, ColumnElement[bool]]) -> None:
        self._duties = list(conditions)
        self._all = select(*(condition.label(name) for name, condition in conditions.items()))
        self._database = database
        self._delay = delay

    def due(self, now: Micros, calendar: Micros) -> list[str]:
        """Return the duties that have something to do at a time, and at the time by which dates have come."""
        with self._database.read() as connection:
            are_due = connection.execute(
                self._all, {"now": now, "lapsed": now - self._delay, "calendar": calendar}
            ).one()
        return [due for due, is_due in zip(self._duties, are_due, strict=True) if is_due]
