"""The core's own row families: request ids, unique keys, outputs, indexed labels, runs of the service's own jobs."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Generic, TypeVar

from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.rows.batch_rows import KeyHolder, Request, RequestRows, RunRows, UniqueKeyRows
from jobledger_service.core.database.rows.entry import JOB_ITSELF
from jobledger_service.core.database.rows.job_labels import JobLabels
from jobledger_service.core.database.rows.outputs import OutputWrites
from jobledger_service.core.database.rows.writes import ConflictError
from jobledger_service.core.model.job import Job, JobSpec, job_id_of
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.refusals.errors import UniqueKeyTaken
from jobledger_service.core.model.run import NEW_RUN, RunState
from jobledger_service.core.model.service_kinds import is_reserved

from .batch_changes import BatchChanges
from .row_families import Guard, Needs, OpenFamily, Projection, keys_of
from .undo import Undo
from .writing import Transaction

Rows = TypeVar("Rows")


class _WithRows(Generic[Rows]):
    """A family with the statements about its rows."""

    def __init__(self, rows: Rows, transaction: Transaction, undo: Undo) -> None:
        self._rows = rows
        self._connection = transaction.connection
        self._undo = undo


def core_families(dialect: Dialect) -> list[OpenFamily]:
    """Return the families of the core."""
    return [
        partial(RequestIds, RequestRows(dialect)),
        partial(Runs, RunRows(dialect)),
        partial(UniqueKeys, UniqueKeyRows(dialect)),
        partial(OutputRows, OutputWrites(dialect)),
        partial(IndexedLabels, JobLabels(dialect)),
    ]


def claim_key(owner: str, request_id: str) -> str:
    """Return the key of a remembered claim; keys of job requests do not begin with a slash."""
    return f"/{owner}/{request_id}"


def is_claim_key(key: str) -> bool:
    """Whether a key is that of a claim."""
    return key.startswith("/")


class RequestIds(_WithRows[RequestRows], Guard):
    """The requests that took effect, by key, as the commands so far left them."""

    rank = 2

    def __init__(self, rows: RequestRows, transaction: Transaction, undo: Undo) -> None:
        super().__init__(rows, transaction, undo)
        self._keys: set[str] = set()
        self._known: dict[str, Request] = {}
        self._new: dict[str, Request] = {}
        self._again: dict[str, Request] = {}
        self._now = Micros(0)

    def add_needs(self, needs: list[Needs]) -> None:
        """Append the jobs of requests that took effect, and the chunks that claims leased."""
        self._keys = keys_of(RequestIds, needs)
        if self._keys:
            self._known = self._rows.find(self._connection, self._keys)
        for request in self._known.values():
            leased = tuple((lease.job_key, lease.index) for lease in request.leases)
            needs.append(Needs(jobs=(request.job_key,) if request.job_key else (), chunks=leased))

    def load(self, needs: Sequence[Needs], jobs: Mapping[str, Job]) -> None:
        """Load requests that took effect at another replica while this one waited for its locks on their jobs.

        Locking such a job now would break the order: the batch begins again, and then includes it from the start.
        """
        missing = {key for key in self._keys - self._known.keys() if not is_claim_key(key)}
        if not missing or not jobs.keys() & {key for need in needs if need.rows.get(RequestIds) for key in need.jobs}:
            return
        requests = self._rows.find(self._connection, missing)
        self._known |= requests
        if {request.job_key for request in requests.values()} - jobs.keys():
            raise ConflictError("a request took effect elsewhere while its job was waited for")

    def find(self, key: str) -> Request | None:
        """Return the request that took effect under this key, if one did."""
        return self._known.get(key)

    def record(self, key: str, request: Request, now: Micros) -> None:
        """Record that a request took effect."""
        self._now = now
        self._undo.put(self._again if key in self._known and key not in self._new else self._new, key, request)
        self._undo.put(self._known, key, request)

    def save(self) -> None:
        if self._new:
            self._rows.insert(self._connection, self._new, self._now)
        if self._again:
            self._rows.update(self._connection, self._again, self._now)


class Runs(_WithRows[RunRows], Guard):
    """Runs by job, as the commands so far left them."""

    rank = 3

    def __init__(self, rows: RunRows, transaction: Transaction, undo: Undo) -> None:
        super().__init__(rows, transaction, undo)
        self._known: dict[str, RunState] = {}
        self._new: dict[str, None] = {}
        self._changed: dict[str, RunState] = {}

    def load(self, needs: Sequence[Needs], _jobs: Mapping[str, Job]) -> None:
        """Load the runs that commands name; they are locked with their jobs."""
        if keys := keys_of(Runs, needs):
            self._known = self._rows.find(self._connection, keys)

    def changed(self, before: Job | None, after: Job) -> Job:
        """Begin a run with each new job of the service's own."""
        if before is None and is_reserved(after.spec.kind):
            self._undo.put(self._new, after.key, None)
        return after

    def find(self, key: str) -> RunState:
        """Return a run that was loaded."""
        return self._known.get(key, NEW_RUN)

    def checkpoint(self, key: str, run: RunState) -> None:
        """Record the progress of a run."""
        self._undo.put(self._known, key, run)
        self._undo.put(self._changed, key, run)

    def save(self) -> None:
        if self._new:
            self._rows.insert(self._connection, self._new)
        if self._changed:
            self._rows.update(self._connection, self._changed)


def full_key(spec: JobSpec) -> str:
    """Return the ledger-wide unique key of a job."""
    return f"{spec.owner}/{spec.kind}/{spec.unique_key}"


class UniqueKeys(_WithRows[UniqueKeyRows], Guard):
    """The jobs that have unique keys, as the commands so far left them.

    The holder of a key is decided under the lock on its job; of two batches that take a free key at once, one loses
    with a conflict and starts over.
    """

    rank = 4

    def __init__(self, rows: UniqueKeyRows, transaction: Transaction, undo: Undo) -> None:
        super().__init__(rows, transaction, undo)
        self._holders: dict[str, KeyHolder | None] = {}
        self._locked: set[str] = set()
        self._freed: dict[tuple[str, str], None] = {}
        self._expired: dict[tuple[str, str], None] = {}
        """The keys of jobs that had ended and are taken by others."""
        self._kept: dict[tuple[str, str], Micros | None] = {}
        """The keys with rows whose time changes, by key and job."""
        self._taken: dict[str, KeyHolder | None] = {}

    def add_needs(self, needs: list[Needs]) -> None:
        """Append the jobs that have the keys of new jobs."""
        if keys := keys_of(UniqueKeys, needs):
            self._locked = {holder.job_key for holder in self._rows.find(self._connection, keys).values()}
            needs.append(Needs(jobs=tuple(self._locked)))

    def load(self, needs: Sequence[Needs], jobs: Mapping[str, Job]) -> None:
        """Load the holders of the keys of new jobs and of requeued ones, now that their jobs are locked."""
        of_new_jobs = keys_of(UniqueKeys, needs)
        requeued = {key for need in needs if need.requeues for key in need.jobs}
        of_requeued = {full_key(jobs[key].spec) for key in requeued & jobs.keys() if jobs[key].spec.unique_key}
        if not of_new_jobs and not of_requeued:
            return
        self._holders.update(self._rows.find(self._connection, of_new_jobs | of_requeued))
        holders = {holder.job_key for key, holder in self._holders.items() if holder and key in of_new_jobs}
        if holders - self._locked:
            raise ConflictError("a unique key was taken elsewhere while its job was waited for")

    def find(self, spec: JobSpec, now: Micros) -> str | None:
        """Return the key of the job that has the unique key of a job; None when it is free."""
        holder = self._holders.get(full_key(spec)) if spec.unique_key else None
        return holder.job_key if holder is not None and holder.has_it(now) else None

    def check_free(self, job: Job, now: Micros) -> None:
        """Raise UniqueKeyTaken when another job has the job's unique key."""
        holder = self.find(job.spec, now)
        if holder not in (None, job.key):
            raise UniqueKeyTaken(job.spec.unique_key, job_id_of(holder))

    def changed(self, before: Job | None, after: Job) -> Job:
        """Take the key of a job that begins, and free that of one that ends, unless its unique_window lasts longer."""
        if after.spec.unique_key and after.ended != (before is None or before.ended):
            if not after.ended:
                self._take(after)
            elif (until := _kept_until(after)) is not None:
                self._keep(full_key(after.spec), KeyHolder(after.key, until))
            else:
                self._free(after)
        return after

    def deleted(self, job: Job) -> None:
        """Free the key of a job that is deleted while it has it."""
        if job.spec.unique_key:
            holder = self._holders.get(full_key(job.spec))
            if not job.ended or (holder is not None and holder.job_key == job.key):
                self._free(job)

    def _take(self, job: Job) -> None:
        key, holder = full_key(job.spec), self._holders.get(full_key(job.spec))
        if holder is not None and holder.job_key == job.key:
            self._keep(key, KeyHolder(job.key))
            return
        if holder is not None and self._taken.get(key) is None:
            self._undo.put(self._expired, (key, holder.job_key), None)
        self._put(self._taken, key, KeyHolder(job.key))

    def _keep(self, key: str, holder: KeyHolder) -> None:
        if self._taken.get(key) is not None:
            self._put(self._taken, key, holder)
        else:
            self._undo.put(self._kept, (key, holder.job_key), holder.kept_until)
            self._undo.put(self._holders, key, holder)

    def _free(self, job: Job) -> None:
        key = full_key(job.spec)
        if self._taken.get(key) is None:
            self._undo.put(self._freed, (key, job.key), None)
        self._put(self._taken, key, None)

    def _put(self, target: dict[str, KeyHolder | None], key: str, holder: KeyHolder | None) -> None:
        self._undo.put(target, key, holder)
        self._undo.put(self._holders, key, holder)

    def save(self) -> None:
        """Delete the keys that are free, then write those that are kept, and insert those that are taken."""
        if self._freed:
            self._rows.delete(self._connection, self._freed)
        gone = self._freed.keys() | self._expired.keys()
        if kept := {key: until for key, until in self._kept.items() if key not in gone}:
            self._rows.keep(self._connection, kept)
        if self._expired:
            self._rows.delete(self._connection, self._expired, ended=True)
        if taken := {key: holder for key, holder in self._taken.items() if holder is not None}:
            self._rows.insert(self._connection, taken)


def _kept_until(job: Job) -> Micros | None:
    """Return until when a job that has ended has its key; None when its window is over, or there is none."""
    if job.spec.unique_window is None or job.end_time is None:
        return None
    until = Micros(job.spec.create_time + job.spec.unique_window)
    return until if until > job.end_time else None


class OutputRows(_WithRows[OutputWrites], Projection):
    """The outputs that a batch declares, of a job the last one; they are locked with their jobs."""

    rank = 5

    def __init__(self, rows: OutputWrites, transaction: Transaction, undo: Undo) -> None:
        super().__init__(rows, transaction, undo)
        self._declared: dict[tuple[str, int], bytes] = {}

    def declare(self, job_key: str, outputs: Iterable[tuple[int, bytes | None]]) -> None:
        """Keep the outputs of completed chunks of a job, by index, and its own as that of JOB_ITSELF."""
        for index, output in outputs:
            if output is not None:
                self._undo.put(self._declared, (job_key, index), output)

    def save(self, changes: BatchChanges) -> None:
        """Delete the outputs of jobs that have another one now, then insert the new ones."""
        if not self._declared:
            return
        uids = {delta.job.key: delta.job.spec.uid_bytes for delta in changes.deltas if not delta.deleted}
        declared = {(uids[key], index): raw for (key, index), raw in self._declared.items() if key in uids}
        had = {delta.before.key for delta in changes.deltas if delta.before and delta.before.output_bytes is not None}
        stale = {(uids[key], JOB_ITSELF) for key in had & uids.keys()} & declared.keys()
        self._rows.replace(self._connection, declared, stale)


class IndexedLabels(_WithRows[JobLabels], Projection):
    """The rows by which lists walk the jobs with one value of a label. They belong to jobs, which are locked."""

    rank = 9

    def save(self, changes: BatchChanges) -> None:
        self._rows.save(self._connection, changes.deltas)
