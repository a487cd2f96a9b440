"""Audit trails: which events under a job_id are those of one job, when other jobs had the same job_id before."""

from typing import Final

from msgspec import Struct as MsgStruct
from sqlalchemy import Connection, func, select

from jobledger_service.core.database.tables import jobs, tombstones

_NO_END: Final = 2**63 - 1


class Trail(MsgStruct, frozen=True):
    """The positions of one job's events among those of its job_id: after `begin`, up to `end`."""

    uid: bytes
    begin: int
    end: int


def read_trail(connection: Connection, job_key: str, uid: bytes | None) -> Trail | None:
    """Return the trail of the job with a uid, by default of the present or else the last one; None when there is none.

    Each job under the same id ends with its deletion, whose tombstone is kept as long as the trail.
    """
    present = connection.execute(select(jobs.c.uid).where(jobs.c.job_key == job_key)).scalar()
    if present is not None and uid in (None, present):
        return Trail(present, _deleted_before(connection, job_key, _NO_END), _NO_END)
    statement = select(tombstones.c.uid, tombstones.c.position).where(tombstones.c.job_key == job_key)
    if uid is not None:
        statement = statement.where(tombstones.c.uid == uid)
    last = connection.execute(statement.order_by(tombstones.c.position.desc()).limit(1)).first()
    return None if last is None else Trail(last.uid, _deleted_before(connection, job_key, last.position), last.position)


def _deleted_before(connection: Connection, job_key: str, position: int) -> int:
    """Return where the job before ended, 0 when there was none."""
    earlier = tombstones.c.job_key == job_key, tombstones.c.position < position
    return connection.execute(select(func.max(tombstones.c.position)).where(*earlier)).scalar() or 0
