"""Indexes of labels: begun, built and cleared in steps, each a transaction that any server may do next.

Which indexes there are changes while nobody writes, as the writer level does: every transaction that commits later
writes the new ones. So a job is in a new index either by its own commits, or by the step that comes past it.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

import structlog
from msgspec import json
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from jobledger_service.core.model.filters.filter import JobFilter
from jobledger_service.core.model.filters.label_indexes import NO_LABEL_INDEXES, LabelIndexes, LabelIndexState

from .engines import Database
from .rows.job_labels import KEY, JobLabels, LabelRows, label_rows, read_indexes
from .rows.job_rows import read_current
from .tables import job_labels, jobs, label_indexes, ledger
from .writer_level import WRITTEN_LABELS, lock_out_writers

log = structlog.get_logger(__name__)

LOCK: Final = "label indexes"

_STATES: Final = select(label_indexes.c.name, label_indexes.c.number, label_indexes.c.state)
_READY: Final = select(label_indexes.c.name, label_indexes.c.number).where(
    label_indexes.c.state == LabelIndexState.READY
)
_BUILDING: Final = (
    select(label_indexes.c.name, label_indexes.c.number, label_indexes.c.built_through)
    .where(label_indexes.c.state == LabelIndexState.BUILDING)
    .order_by(label_indexes.c.built_through)
)
_CLEARING: Final = select(label_indexes.c.number).where(label_indexes.c.state == LabelIndexState.CLEARING).limit(1)
_ROWS: Final = (
    select(*(job_labels.c[name] for name in KEY))
    .where(job_labels.c.index_number == bindparam("number"))
    .limit(bindparam("most"))
)
_JOBS: Final = (
    select(
        jobs.c.job_key,
        jobs.c.owner,
        jobs.c.create_time,
        jobs.c.state,
        jobs.c.priority,
        jobs.c.end_time,
        jobs.c.current,
    )
    .where(jobs.c.job_key > bindparam("after"))
    .order_by(jobs.c.job_key)
    .limit(bindparam("most"))
    .with_for_update()
)


def ready_indexes(connection: Connection, wanted: JobFilter) -> LabelIndexes:
    """Return the indexes that have all jobs; none when a filter does not ask for values of labels."""
    if not wanted.labels and not any(condition.values for condition in wanted.label_conditions):
        return NO_LABEL_INDEXES
    return {row.name: row.number for row in connection.execute(_READY)}


def read_states(connection: Connection) -> dict[str, bool]:
    """Return the names of the indexes that are written, and whether each has all jobs."""
    found = connection.execute(_STATES).all()
    return {row.name: row.state == LabelIndexState.READY for row in found if row.state != LabelIndexState.CLEARING}


class LabelIndexStore:
    """Changes which labels are indexed, and brings the indexes there step by step."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows = JobLabels(database.dialect)

    def choose(self, names: Sequence[str]) -> None:
        """Let every commit from now on write the indexes of these names, and of no others."""
        with self._database.write() as connection:
            before = read_indexes(connection.info[WRITTEN_LABELS])
        if before.keys() != {*names}:
            self._change(names, before.keys() & {*names})

    def renew(self) -> int:
        """Begin all indexes anew; return how many there are."""
        with self._database.write() as connection:
            names = [*read_indexes(connection.info[WRITTEN_LABELS])]
        if names:
            self._change(names, ())
        return len(names)

    def _change(self, names: Sequence[str], keep: Collection[str]) -> None:
        """Change the ledger's row while nobody writes: who commits later has read it, who committed before has not."""
        with self._database.change_schema() as connection:
            lock_out_writers(connection)
            self._change_locked(connection, names, keep)

    def _change_locked(self, connection: Connection, names: Sequence[str], keep: Collection[str]) -> None:
        before = read_indexes(connection.execute(select(ledger.c.label_indexes)).scalar_one())
        kept = {name: number for name, number in before.items() if name in keep}
        last: int = connection.execute(select(func.coalesce(func.max(label_indexes.c.number), 0))).scalar_one()
        new = {name: number for number, name in enumerate(sorted({*names} - kept.keys()), last + 1)}
        gone = [number for name, number in before.items() if name not in kept]
        dropped = update(label_indexes).where(label_indexes.c.number.in_(gone))
        connection.execute(dropped.values(state=LabelIndexState.CLEARING))
        for name, number in new.items():
            values = {"number": number, "name": name, "state": LabelIndexState.BUILDING, "built_through": ""}
            connection.execute(insert(label_indexes).values(values))
        connection.execute(update(ledger).values(label_indexes=json.encode(kept | new).decode()))
        log.info("the indexed labels change", begun=sorted(new), dropped=len(gone))

    def step(self, limit: int) -> bool:
        """Add at most `limit` jobs to the indexes that lack some, or delete as many rows; return if there is more.

        Of all servers one does so at a time.
        """
        with self._database.write() as connection:
            if not self._database.dialect.try_lock(connection, LOCK):
                return False
            return self.do_step(connection, limit)

    def do_step(self, connection: Connection, limit: int) -> bool:
        """Do a step in a transaction that holds the lock."""
        building = connection.execute(_BUILDING).all()
        if not building:
            return self._clear(connection, limit)
        page = connection.execute(_JOBS, {"after": building[0].built_through, "most": limit}).all()
        indexes = {row.name: row.number for row in building}
        rows: LabelRows = {}
        for row in page:
            rows |= _rows_of(row, indexes)
        self._rows.delete(connection, rows)  # those that commits have written meanwhile
        self._rows.insert(connection, rows)
        is_whole = len(page) < limit
        values = {"state": LabelIndexState.READY} if is_whole else {"built_through": page[-1].job_key}
        come_past = label_indexes.c.built_through < ("" if is_whole else page[-1].job_key)
        built = update(label_indexes).where(label_indexes.c.number.in_(indexes.values()))
        connection.execute((built if is_whole else built.where(come_past)).values(values))
        if is_whole:
            log.info("labels are indexed", names=sorted(indexes))
        return True

    def _clear(self, connection: Connection, limit: int) -> bool:
        number: int | None = connection.execute(_CLEARING).scalar()
        if number is None:
            return False
        found = [tuple(row) for row in connection.execute(_ROWS, {"number": number, "most": limit})]
        self._rows.delete(connection, found)
        if len(found) < limit:
            connection.execute(delete(label_indexes).where(label_indexes.c.number == number))
        return True


def _rows_of(row: Any, indexes: LabelIndexes) -> LabelRows:  # noqa: ANN401  a row of _JOBS
    try:
        labels = read_current(row.current).labels
    except Exception:
        log.exception("a job cannot be read: it gets no place in the indexes of labels", job_key=row.job_key)
        return {}
    return label_rows(indexes, labels, row.owner, row.create_time, row.job_key, row.state, row.priority, row.end_time)
