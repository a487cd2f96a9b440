"""Finds due work with one small read: each condition has a partial index that contains only candidates."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import BigInteger, BindParameter, ColumnElement, bindparam, exists, or_, select

from jobledger_service.core.ledger.read_ports import Due

from .engines import Database
from .tables import (
    cancelling,
    chunks,
    delayed,
    jobs,
    leased,
    limits,
    of_service,
    slots_free,
)

_NOW: Final[BindParameter[int]] = bindparam("now", type_=BigInteger)
_LEASE_CUTOFF: Final[BindParameter[int]] = bindparam("lapsed", type_=BigInteger)
"""The time up to which ended leases expire."""
_CONDITIONS: Final[dict[Due, ColumnElement[bool]]] = {
    Due.LEASES: or_(
        exists().select_from(chunks).where(leased, chunks.c.lease_expire_time <= _LEASE_CUTOFF),
        exists().select_from(chunks).where(delayed, chunks.c.not_before <= _NOW),
        exists().select_from(jobs).where(cancelling, jobs.c.cancel_deadline <= _NOW),
    ),
    Due.SLOTS: exists().select_from(limits).where(slots_free),
    Due.SERVICE_JOBS: exists().select_from(chunks).where(of_service),
}


class SqlDueStore:
    """Finds all due work; leases expire `delay` microseconds after their end.

    `others` are the conditions of features.
    """

    def __init__(self, database: Database, delay: int, others: Mapping[Due, ColumnElement[bool]]) -> None:
        conditions = {**_CONDITIONS, **others}
        self._duties = list(conditions)
        self._all = select(*(condition.label(one) for one, condition in conditions.items()))
        self._database = database
        self._delay = delay

    def due(self, now: int) -> list[Due]:
        """Return the kinds of due work."""
        with self._database.read() as connection:
            found = connection.execute(self._all, {"now": now, "lapsed": now - self._delay}).one()
        return [due for due, is_due in zip(self._duties, found, strict=True) if is_due]
