"""The outputs of jobs and chunks, which have rows of their own: a change of a job does not write its output again."""

from collections.abc import Iterable, Sequence

from jobledger_service.core.model.change import JobDelta
from jobledger_service.core.store.entry import JOB_ITSELF
from jobledger_service.core.store.outputs import OutputWrites
from jobledger_service.core.store.writing import Transaction

from .row_families import RowFamily
from .undo import Undo


class OutputRows(RowFamily):
    """The outputs that a batch declares, of a job the last one; they are locked with their jobs."""

    rank = 5

    def __init__(self, rows: OutputWrites, transaction: Transaction, undo: Undo) -> None:
        self._rows = rows
        self._connection = transaction.connection
        self._undo = undo
        self._declared: dict[tuple[str, int], bytes] = {}

    def declare(self, job_key: str, outputs: Iterable[tuple[int, bytes | None]]) -> None:
        """Keep the outputs of completed chunks of a job, by index, and its own as that of JOB_ITSELF."""
        for index, output in outputs:
            if output is not None:
                self._undo.put(self._declared, (job_key, index), output)

    def save(self, deltas: Sequence[JobDelta], now: int) -> bool:  # noqa: ARG002  it has nothing to do later
        """Delete the outputs of jobs that have another one now, then insert the new ones."""
        if not self._declared:
            return False
        uids = {delta.job.key: delta.job.spec.uid_bytes for delta in deltas if not delta.deleted}
        declared = {(uids[key], index): raw for (key, index), raw in self._declared.items() if key in uids}
        had = {delta.before.key for delta in deltas if delta.before and delta.before.output_bytes is not None}
        stale = {(uids[key], JOB_ITSELF) for key in had & uids.keys()} & declared.keys()
        self._rows.replace(self._connection, declared, stale)
        return False
