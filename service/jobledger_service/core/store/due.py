"""What is due, found by one small read: each condition is that of an index which holds only what may be due."""

from typing import Any, Final

from sqlalchemy import BigInteger, BindParameter, ColumnElement, Select, and_, bindparam, exists, or_, select

from jobledger_service.core.ledger.read_ports import Due
from jobledger_service.features.webhooks.delivery_store import ANY_DUE

from .engines import Database
from .tables import (
    cancelling,
    chunks,
    delayed,
    jobs,
    leased,
    ledger,
    limits,
    of_service,
    slots_free,
    webhook_place,
    webhooks,
)

_NOW: Final[BindParameter[int]] = bindparam("now", type_=BigInteger)
_LAPSED: Final[BindParameter[int]] = bindparam("lapsed", type_=BigInteger)
"""Leases that ended by then are to expire."""
_CONDITIONS: Final[dict[Due, ColumnElement[bool]]] = {
    Due.LEASES: or_(
        exists().select_from(chunks).where(leased, chunks.c.lease_expire_time <= _LAPSED),
        exists().select_from(chunks).where(delayed, chunks.c.not_before <= _NOW),
        exists().select_from(jobs).where(cancelling, jobs.c.cancel_deadline <= _NOW),
    ),
    Due.SLOTS: exists().select_from(limits).where(slots_free),
    Due.SERVICE_JOBS: exists().select_from(chunks).where(of_service),
    Due.WEBHOOK_EVENTS: and_(
        exists().select_from(webhooks),
        exists().select_from(ledger.join(webhook_place, ledger.c.position > webhook_place.c.position)),
    ),
    Due.WEBHOOKS: ANY_DUE.exists(),
}
_LABELLED: Final[list[ColumnElement[Any]]] = [condition.label(due) for due, condition in _CONDITIONS.items()]
_ALL: Final[Select[Any]] = select(*_LABELLED)


class SqlLookout:
    """Looks over all that time brings about; leases expire `delay` microseconds after their end."""

    def __init__(self, database: Database, delay: int) -> None:
        self._database = database
        self._delay = delay

    def due(self, now: int) -> list[Due]:
        """Return what there is something to do of."""
        with self._database.read() as connection:
            found = connection.execute(_ALL, {"now": now, "lapsed": now - self._delay}).one()
        return [due for due, is_due in zip(_CONDITIONS, found, strict=True) if is_due]
