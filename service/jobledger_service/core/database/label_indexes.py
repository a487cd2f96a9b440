"""Indexes of labels: chosen, built and cleared by `jobledger-server migrate`, in steps, while servers write.

Which indexes exist changes while nobody writes, as the writer level does: every transaction that commits later writes
the new ones. So a job gets into a new index either by its own commits, or by the step that reaches it.
"""

from collections.abc import Callable, Collection, Sequence
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
JOBS_PER_STEP: Final = 250
"""Jobs that a step locks, or rows that it deletes."""

OnProgress = Callable[[int, int], object]
"""Called with the number of jobs that are indexed, and with that of all jobs."""

_STATES: Final = select(label_indexes.c.name, label_indexes.c.number, label_indexes.c.state)
_READY: Final = select(label_indexes.c.name, label_indexes.c.number).where(
    label_indexes.c.state == LabelIndexState.READY
)
_BUILDING: Final = (
    select(label_indexes.c.name, label_indexes.c.number, label_indexes.c.built_through)
    .where(label_indexes.c.state == LabelIndexState.BUILDING)
    .order_by(label_indexes.c.built_through)
)
_PROGRESS: Final = select(
    select(func.count())
    .where(
        jobs.c.job_key
        <= select(func.min(label_indexes.c.built_through))
        .where(label_indexes.c.state == LabelIndexState.BUILDING)
        .scalar_subquery()
    )
    .scalar_subquery(),
    select(func.count()).select_from(jobs).scalar_subquery(),
)
_CLEARING: Final = select(label_indexes.c.number).where(label_indexes.c.state == LabelIndexState.CLEARING).limit(1)
_ROWS: Final = (
    select(*(job_labels.c[name] for name in KEY))
    .where(job_labels.c.index_number == bindparam("number"))
    .limit(bindparam("limit"))
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
    .limit(bindparam("limit"))
    .with_for_update()
)


def ready_indexes(connection: Connection, job_filter: JobFilter) -> LabelIndexes:
    """Return the indexes that have all jobs, or none for a filter without values of labels."""
    if not job_filter.labels and not any(condition.values for condition in job_filter.label_conditions):
        return NO_LABEL_INDEXES
    return {row.name: row.number for row in connection.execute(_READY)}


def read_states(connection: Connection) -> dict[str, bool]:
    """Return the names of the indexes that commits write, and whether each has all jobs."""
    states = connection.execute(_STATES).all()
    return {row.name: row.state == LabelIndexState.READY for row in states if row.state != LabelIndexState.CLEARING}


def are_indexed(database: Database, names: Sequence[str] | None) -> bool:
    """Whether these labels, and no others, have complete indexes; None stands for those that commits write."""
    with database.read() as connection:
        states = read_states(connection)
    return states == dict.fromkeys(states if names is None else names, True)


def prepare_labels(database: Database, names: Sequence[str] | None) -> None:
    """Index these labels where there are no jobs yet; elsewhere log what to run if they are not indexed."""
    if are_indexed(database, names):
        return
    with database.read() as connection:
        has_jobs = connection.execute(select(jobs.c.job_key).limit(1)).first() is not None
    if has_jobs:
        log.warning(
            "label indexes differ from the settings, and lists without an index are slower:"
            " run `jobledger-server migrate` with the same settings, on SQLite while the server is stopped",
            indexed_labels=names,
        )
    else:
        index_labels(database, names)


def index_labels(database: Database, names: Sequence[str] | None, on_progress: OnProgress = lambda *_: None) -> None:
    """Index these labels and no others; None completes the indexes that were chosen before."""
    indexes = LabelIndexStore(database)
    if names is not None:
        indexes.choose(names)
    indexes.build(on_progress)


class LabelIndexStore:
    """Changes which labels are indexed, and builds and clears their indexes step by step."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rows = JobLabels(database.dialect)

    def choose(self, names: Sequence[str]) -> None:
        """Make every later commit write the indexes of exactly these names."""
        with self._database.write() as connection:
            before = read_indexes(connection.info[WRITTEN_LABELS])
        if before.keys() != {*names}:
            self._change(names, keep=names)

    def renew(self) -> int:
        """Replace all indexes by new, empty ones; return how many there are."""
        with self._database.write() as connection:
            names = [*read_indexes(connection.info[WRITTEN_LABELS])]
        if names:
            self._change(names, keep=())
        return len(names)

    def _change(self, names: Sequence[str], keep: Collection[str]) -> None:
        """Change the ledger's row while no transaction writes: later ones read the new row, earlier ones are over."""
        with self._database.change_schema() as connection:
            lock_out_writers(connection)
            before = read_indexes(connection.execute(select(ledger.c.label_indexes)).scalar_one())
            kept = {name: number for name, number in before.items() if name in keep}
            last: int = connection.execute(select(func.coalesce(func.max(label_indexes.c.number), 0))).scalar_one()
            new = {name: number for number, name in enumerate(sorted({*names} - kept.keys()), last + 1)}
            dropped = [number for name, number in before.items() if name not in kept]
            clear = update(label_indexes).where(label_indexes.c.number.in_(dropped))
            connection.execute(clear.values(state=LabelIndexState.CLEARING))
            for name, number in new.items():
                values = {"number": number, "name": name, "state": LabelIndexState.BUILDING, "built_through": ""}
                connection.execute(insert(label_indexes).values(values))
            connection.execute(update(ledger).values(label_indexes=json.encode(kept | new).decode()))

    def build(self, on_progress: OnProgress = lambda *_: None) -> None:
        """Complete all indexes, and delete the rows of dropped ones; continue where a stopped build ended."""
        with self._database.read() as connection:
            done, total = connection.execute(_PROGRESS).one()
        while self.step(JOBS_PER_STEP):
            done = min(done + JOBS_PER_STEP, total)
            on_progress(done, total)

    def step(self, limit: int) -> bool:
        """Add at most `limit` jobs to incomplete indexes, or delete as many rows; return whether there may be more.

        Concurrent builds take turns.
        """
        with self._database.write() as connection:
            self._database.dialect.lock(connection, LOCK)
            building = connection.execute(_BUILDING).all()
            if not building:
                return self._clear(connection, limit)
            page = connection.execute(_JOBS, {"after": building[0].built_through, "limit": limit}).all()
            indexes = {row.name: row.number for row in building}
            rows: LabelRows = {}
            for row in page:
                rows |= _rows_of(row, indexes)
            self._rows.delete(connection, rows)  # those that commits have written meanwhile
            self._rows.insert(connection, rows)
            is_complete = len(page) < limit
            built = update(label_indexes).where(label_indexes.c.number.in_(indexes.values()))
            if is_complete:
                connection.execute(built.values(state=LabelIndexState.READY))
            else:
                through = page[-1].job_key
                connection.execute(built.where(label_indexes.c.built_through < through).values(built_through=through))
            return True

    def _clear(self, connection: Connection, limit: int) -> bool:
        number: int | None = connection.execute(_CLEARING).scalar()
        if number is None:
            return False
        keys = [tuple(row) for row in connection.execute(_ROWS, {"number": number, "limit": limit})]
        self._rows.delete(connection, keys)
        if len(keys) < limit:
            connection.execute(delete(label_indexes).where(label_indexes.c.number == number))
        return True


def _rows_of(row: Any, indexes: LabelIndexes) -> LabelRows:  # noqa: ANN401  a row of _JOBS
    try:
        labels = read_current(row.current).labels
    except Exception:
        log.exception("a job cannot be read: it is left out of the indexes of labels", job_key=row.job_key)
        return {}
    return label_rows(indexes, labels, row.owner, row.create_time, row.job_key, row.state, row.priority, row.end_time)
