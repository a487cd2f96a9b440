"""Rows that deleted jobs leave, until they are trimmed."""

from itertools import accumulate
from typing import Any, Final

from sqlalchemy import Select, Table, delete, func, select

from jobledger_service.core.database.engines import Database

from .row_sets import RowSets

MAX_TRIM_BYTES: Final = 4 * 1024 * 1024
"""A step of trimming deletes rows up to the one at this size, so that it holds few large rows."""
DELETED_JOBS_PER_STEP: Final = 100
"""The number of deleted jobs whose rows one step deletes."""


def trim_deleted(database: Database, deleted: Select[Any], listed: Table, rows: Table, limit: int) -> bool:
    """Delete at most `limit` rows of deleted jobs, fewer when they are large; return whether there may be more.

    `deleted` selects jobs from the table that lists them; one without further rows is deleted from it. One server at a
    time does so.
    """
    with database.write() as connection:
        if not database.dialect.try_lock(connection, f"trim {rows.name}"):
            return False
        row_sets = RowSets(database.dialect)
        key, room, size = list(rows.primary_key), limit, 0
        count = min(limit, DELETED_JOBS_PER_STEP)
        jobs = connection.execute(deleted.limit(count)).all()
        for job in jobs:
            of_job = (rows.c[name] == value for name, value in job._mapping.items())  # noqa: SLF001  public
            ordered = select(*key, func.length(rows.c.encoded)).where(*of_job).order_by(*key)
            sized = connection.execute(ordered.limit(room)).all()
            before = accumulate((row[-1] for row in sized), initial=size)
            old = [row for row, preceding in zip(sized, before, strict=False) if preceding < MAX_TRIM_BYTES]
            names = [column.name for column in key]
            row_sets.delete(connection, rows, [dict(zip(names, row, strict=False)) for row in old])
            room, size = room - len(old), size + sum(row[-1] for row in old)
            if not room or len(old) < len(sized):
                return True
            connection.execute(delete(listed).where(listed.c.uid == job.uid))
        return len(jobs) == count
