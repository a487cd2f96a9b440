"""Which deleted jobs a removal still reads: retention leaves their artifact versions until it has ended."""

from collections.abc import Sequence

from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.rows.row_sets import RowSets
from jobledger_service.core.database.tables import artifact_removals
from jobledger_service.core.model.history.change import JobDelta
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.service_kinds import ARTIFACTS
from jobledger_service.core.model.states import JobState
from jobledger_service.core.write.row_families import OpenFamily, RowFamily
from jobledger_service.core.write.undo import Undo
from jobledger_service.core.write.writing import Transaction


def artifact_removals_family(dialect: Dialect) -> OpenFamily:
    """Return the family of artifact removals."""
    row_sets = RowSets(dialect)
    return lambda transaction, undo: ArtifactRemovals(row_sets, transaction, undo)


class ArtifactRemovals(RowFamily):
    """The deleted jobs of the removals that a batch begins or ends; their rows are locked with the removal."""

    rank = 10

    def __init__(self, row_sets: RowSets, transaction: Transaction, undo: Undo) -> None:
        self._row_sets = row_sets
        self._connection = transaction.connection
        self._undo = undo
        self._begun: dict[bytes, str] = {}

    def begin(self, removal_key: str, deleted: Sequence[Job]) -> None:
        """Keep the artifact versions of deleted jobs for a removal."""
        for job in deleted:
            self._undo.put(self._begun, job.spec.uid_bytes, removal_key)

    def save(self, deltas: Sequence[JobDelta], now: Micros) -> bool:  # noqa: ARG002  it has nothing to do later
        """Insert the rows of new removals; delete those of removals that are done, or that were deleted."""
        ended = [
            {"removal_key": delta.job.key}
            for delta in deltas
            if delta.job.spec.kind == ARTIFACTS and (delta.deleted or delta.job.state is JobState.COMPLETED)
        ]
        begun = [{"uid": uid, "removal_key": key} for uid, key in self._begun.items()]
        self._row_sets.insert(self._connection, artifact_removals, begun)
        self._row_sets.delete(self._connection, artifact_removals, ended)
        return False
