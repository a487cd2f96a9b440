"""The unique keys of jobs that have not ended: at most one job of an owner and kind has each."""

from collections.abc import Iterable, Mapping, Sequence

from jobledger_service.core.model.change import JobDelta
from jobledger_service.core.model.errors import UniqueKeyTaken
from jobledger_service.core.model.job import Job, JobSpec, job_id_of
from jobledger_service.core.store.batch_rows import UniqueKeyRows
from jobledger_service.core.store.writes import ConflictError
from jobledger_service.core.store.writing import Transaction

from .row_families import Needs, RowFamily, keys_of
from .undo import Undo


def full_key(spec: JobSpec) -> str:
    """Return the ledger-wide unique key of a job."""
    return f"{spec.owner}/{spec.kind}/{spec.unique_key}"


class UniqueKeys(RowFamily):
    """The jobs that have unique keys, as the commands so far left them.

    Who has a key is decided under the lock on the job that has it; of two that take a free key at once, one loses with
    a conflict, and begins again.
    """

    rank = 4

    def __init__(self, rows: UniqueKeyRows, transaction: Transaction, undo: Undo) -> None:
        self._rows = rows
        self._connection = transaction.connection
        self._undo = undo
        self._holders: dict[str, str | None] = {}
        self._locked: set[str] = set()
        self._freed: dict[tuple[str, str], None] = {}
        self._taken: dict[str, str | None] = {}

    def find_jobs(self, needs: Sequence[Needs]) -> Iterable[str]:
        """Return the jobs that have the keys of new jobs."""
        wanted = keys_of(UniqueKeys, needs)
        self._locked = {*self._rows.find(self._connection, wanted).values()} if wanted else set()
        return self._locked

    def load(self, needs: Sequence[Needs], jobs: Mapping[str, Job]) -> None:
        """Load who has the keys of new jobs and of jobs that may begin again, now that their jobs are locked."""
        wanted = keys_of(UniqueKeys, needs)
        requeued = {key for need in needs if need.requeues for key in need.jobs}
        again = {full_key(jobs[key].spec) for key in requeued & jobs.keys() if jobs[key].spec.unique_key}
        if not wanted and not again:
            return
        self._holders.update(self._rows.find(self._connection, wanted | again))
        if {job for key, job in self._holders.items() if key in wanted} - self._locked:
            raise ConflictError("a unique key was taken elsewhere while its job was waited for")

    def find(self, spec: JobSpec) -> str | None:
        """Return the key of the job that has the unique key of a job; None when it is free."""
        return self._holders.get(full_key(spec)) if spec.unique_key else None

    def check_free(self, job: Job) -> None:
        """Raise UniqueKeyTaken when another job has the job's unique key."""
        holder = self.find(job.spec)
        if holder not in (None, job.key):
            raise UniqueKeyTaken(job.spec.unique_key, job_id_of(holder))

    def changed(self, before: Job | None, after: Job) -> Job:
        """Take the key of a job that begins, and free that of one that ends."""
        if after.spec.unique_key and after.ended != (before is None or before.ended):
            if after.ended:
                self._free(after)
            else:
                self._put(self._taken, full_key(after.spec), after.key)
        return after

    def deleted(self, job: Job) -> None:
        """Free the key of a job that is deleted before it has ended."""
        if job.spec.unique_key and not job.ended:
            self._free(job)

    def _free(self, job: Job) -> None:
        key = full_key(job.spec)
        if self._taken.get(key) is None:
            self._undo.put(self._freed, (key, job.key), None)
        self._put(self._taken, key, None)

    def _put(self, target: dict[str, str | None], key: str, job_key: str | None) -> None:
        self._undo.put(target, key, job_key)
        self._undo.put(self._holders, key, job_key)

    def save(self, deltas: Sequence[JobDelta], now: int) -> bool:  # noqa: ARG002  it was called for each change
        """Delete the keys that are free, then insert those that are taken."""
        if self._freed:
            self._rows.delete(self._connection, self._freed)
        if taken := {key: job_key for key, job_key in self._taken.items() if job_key is not None}:
            self._rows.insert(self._connection, taken)
        return False
