"""The quotas of one batch: those of the owners whose jobs it creates, starts again or gives artifacts."""

from collections.abc import Mapping, Sequence

from jobledger_service.core.database.rows.quotas import QuotaRows
from jobledger_service.core.model.bounds.quotas import Bounds, JobsHeld
from jobledger_service.core.model.job import Job, owner_of
from jobledger_service.core.model.service_kinds import is_reserved
from jobledger_service.core.write.postponed import Postponed
from jobledger_service.core.write.row_families import Guard, Needs
from jobledger_service.core.write.undo import Undo
from jobledger_service.core.write.writing import Transaction


class Quotas(Guard):
    """How much the bounded owners have, as the commands so far left it.

    It has no rows of its own: it reads the counts under a lock for each bounded owner, which all take that add to it.
    Others only lower them, so that a count is never less than what there is.
    """

    rank = 8

    def __init__(self, rows: QuotaRows, defaults: Bounds, transaction: Transaction, undo: Undo) -> None:
        self._rows = rows
        self._defaults = defaults
        self._connection = transaction.connection
        self._undo = undo
        self._adding: set[str] = set()
        self._storing: set[str] = set()
        """The owners whose bounds on jobs, and those whose bounds on artifacts, are known."""
        self._bounds: Mapping[str, Bounds] = {}
        self._held: dict[str, JobsHeld] = {}

    def load(self, needs: Sequence[Needs], jobs: Mapping[str, Job]) -> None:
        """Load the bounds of owners that may get more jobs or artifacts; lock and count what those with any have."""
        specs = [new.spec for need in needs for new in need.new_jobs]
        requeued = {key for need in needs if need.requeues for key in need.jobs}
        specs += [job.spec for job in map(jobs.get, requeued) if job is not None and job.ended]
        self._adding = {spec.owner for spec in specs if not is_reserved(spec.kind)}
        self._storing = {owner_of(key) for need in needs for key in need.storing}
        if self._adding or self._storing:
            self._bounds = self._rows.lock(self._connection, self._adding, self._storing, self._defaults)
        if self._bounds:
            self._held = self._rows.jobs_held(self._connection, self._bounds)

    def changed(self, before: Job | None, after: Job) -> Job:
        """Count a job that is new, ends, begins again or gets artifacts; raises QuotaExceeded when it is too much.

        Raises Postponed when the batch does not know the owner's bounds, as an earlier command ended the job.
        """
        owner, was_stored = after.spec.owner, 0 if before is None else before.artifact_bytes
        moves = before is None or before.ended != after.ended
        if is_reserved(after.spec.kind) or not (moves or was_stored != after.artifact_bytes):
            return after
        if moves and owner not in self._adding and (before is None or not after.ended):
            raise Postponed
        if owner in self._bounds:
            held = self._held[owner]
            if before is not None:
                held = held.plus(before.state, -1, -was_stored)
            held = held.plus(after.state, 1, after.artifact_bytes)
            held.check(owner, self._bounds[owner], self._held[owner])
            self._undo.put(self._held, owner, held)
        return after

    def deleted(self, job: Job) -> None:
        owner = job.spec.owner
        if owner in self._bounds and not is_reserved(job.spec.kind):
            self._undo.put(self._held, owner, self._held[owner].plus(job.state, -1, -job.artifact_bytes))
