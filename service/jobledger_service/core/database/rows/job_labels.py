"""The rows by which lists walk the jobs with one value of an indexed label, as batches write them.

The ledger's row names the indexes that every commit writes, whatever the settings of its server are.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from msgspec import json
from sqlalchemy import Connection

from jobledger_service.core.database.cells import Row
from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.tables import job_labels
from jobledger_service.core.database.writer_level import WRITTEN_LABELS
from jobledger_service.core.model.filters.label_indexes import LabelIndexes
from jobledger_service.core.model.filters.search import label_digest
from jobledger_service.core.model.history.change import JobDelta
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.micros import Micros

from .row_sets import RowSets

_INDEXES: Final = json.Decoder(dict[str, int])
KEY: Final = tuple(column.name for column in job_labels.primary_key)

LabelRows = dict[tuple[Any, ...], Row]
"""Rows by their primary key."""


@lru_cache(maxsize=16)
def read_indexes(text: str) -> LabelIndexes:
    """Return what the ledger's column holds."""
    return _INDEXES.decode(text)


def rows_of(job: Job, indexes: LabelIndexes) -> LabelRows:
    """Return the rows of a job."""
    spec = job.spec
    return label_rows(
        indexes, job.labels, spec.owner, spec.create_time, job.key, job.state.value, job.priority, job.end_time
    )


def label_rows(
    indexes: LabelIndexes,
    labels: Mapping[str, str],
    owner: str,
    create_time: Micros,
    job_key: str,
    state: str,
    priority: int,
    end_time: Micros | None,
) -> LabelRows:
    """Return the rows of a job, of which some fields are known."""
    ordered = {"state": state, "priority": priority, "end_time": end_time}
    keys = [
        (indexes[name], owner, label_digest(name, labels[name]), create_time, job_key)
        for name in labels.keys() & indexes.keys()
    ]
    return {key: {**dict(zip(KEY, key, strict=True)), **ordered} for key in keys}


class JobLabels:
    """The rows of labels in the transaction of a batch. They belong to locked jobs: no transaction waits for them."""

    def __init__(self, dialect: Dialect) -> None:
        self._row_sets = RowSets(dialect)

    def save(self, connection: Connection, deltas: Sequence[JobDelta]) -> None:
        """Write the rows of all changed jobs, as far as the ledger names their labels.

        A job that the building of an index has not reached has no row to update or delete; its row is made then.
        """
        indexes = read_indexes(connection.info[WRITTEN_LABELS])
        if not indexes:
            return
        before: LabelRows = {}
        after: LabelRows = {}
        for delta in deltas:
            if delta.before is not None:
                before |= rows_of(delta.before, indexes)
            if not delta.deleted:
                after |= rows_of(delta.job, indexes)
        self.delete(connection, before.keys() - after.keys())
        self.insert(connection, {key: row for key, row in after.items() if key not in before})
        changed = [row for key, row in sorted(after.items()) if before.get(key, row) != row]
        self._row_sets.update(connection, job_labels, changed)

    def insert(self, connection: Connection, rows: LabelRows) -> None:
        """Insert rows, in the order of their keys."""
        self._row_sets.insert(connection, job_labels, [row for _, row in sorted(rows.items())])

    def delete(self, connection: Connection, keys: Iterable[tuple[Any, ...]]) -> None:
        """Delete rows, in the order of their keys."""
        self._row_sets.delete(connection, job_labels, [dict(zip(KEY, key, strict=True)) for key in sorted(keys)])
