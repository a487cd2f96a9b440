"""The core's own row families: request ids, unique keys, outputs, indexed labels, runs of the service's own jobs."""

from collections.abc import Iterable, Mapping, Sequence

from jobledger_service.core.model.change import JobDelta
from jobledger_service.core.model.chunk import ChunkKey
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.run import NEW_RUN, RunState
from jobledger_service.core.model.service_kinds import is_reserved
from jobledger_service.core.store.batch_rows import Request, RequestRows, RunRows, UniqueKeyRows
from jobledger_service.core.store.dialects import Dialect
from jobledger_service.core.store.job_labels import JobLabels
from jobledger_service.core.store.outputs import OutputWrites
from jobledger_service.core.store.writes import ConflictError
from jobledger_service.core.store.writing import Transaction

from .indexed_labels import IndexedLabels
from .outputs import OutputRows
from .row_families import Needs, OpenFamily, RowFamily, keys_of
from .undo import Undo
from .unique_keys import UniqueKeys


def core_families(dialect: Dialect) -> list[OpenFamily]:
    """Return the families of the core."""
    request_rows, run_rows, unique_key_rows = RequestRows(dialect), RunRows(dialect), UniqueKeyRows(dialect)
    output_rows, job_labels = OutputWrites(dialect), JobLabels(dialect)
    return [
        lambda transaction, undo: RequestIds(request_rows, transaction, undo),
        lambda transaction, undo: Runs(run_rows, transaction, undo),
        lambda transaction, undo: UniqueKeys(unique_key_rows, transaction, undo),
        lambda transaction, undo: OutputRows(output_rows, transaction, undo),
        lambda transaction, _undo: IndexedLabels(job_labels, transaction),
    ]


def claim_key(owner: str, request_id: str) -> str:
    """Return the key of a remembered claim: no request for a job has one that begins so."""
    return f"/{owner}/{request_id}"


def is_claim_key(key: str) -> bool:
    """Whether a key is that of a claim."""
    return key.startswith("/")


class RequestIds(RowFamily):
    """The requests that took effect, by key, as the commands so far left them."""

    rank = 2

    def __init__(self, rows: RequestRows, transaction: Transaction, undo: Undo) -> None:
        self._rows = rows
        self._connection = transaction.connection
        self._undo = undo
        self._wanted: set[str] = set()
        self._known: dict[str, Request] = {}
        self._new: dict[str, Request] = {}
        self._again: dict[str, Request] = {}

    def find_jobs(self, needs: Sequence[Needs]) -> Iterable[str]:
        """Return the jobs of requests that took effect."""
        self._wanted = keys_of(RequestIds, needs)
        if self._wanted:
            self._known = self._rows.find(self._connection, self._wanted)
        return {request.job_key for request in self._known.values() if request.job_key}

    def find_chunks(self) -> Iterable[ChunkKey]:
        """Return the chunks that claims leased."""
        return {(lease.job_key, lease.index) for request in self._known.values() for lease in request.leases}

    def load(self, needs: Sequence[Needs], jobs: Mapping[str, Job]) -> None:
        """Load requests that took effect at another replica while this one waited for its locks on their jobs.

        Locking such a job now would break the order: the batch begins again, and then includes it from the start.
        """
        missing = {key for key in self._wanted - self._known.keys() if not is_claim_key(key)}
        if not missing or not jobs.keys() & {key for need in needs if need.rows.get(RequestIds) for key in need.jobs}:
            return
        found = self._rows.find(self._connection, missing)
        self._known |= found
        if {request.job_key for request in found.values()} - jobs.keys():
            raise ConflictError("a request took effect elsewhere while its job was waited for")

    def find(self, key: str) -> Request | None:
        """Return the request that took effect under this key, if one did."""
        return self._known.get(key)

    def record(self, key: str, request: Request) -> None:
        """Record that a request took effect."""
        self._undo.put(self._again if key in self._known and key not in self._new else self._new, key, request)
        self._undo.put(self._known, key, request)

    def save(self, deltas: Sequence[JobDelta], now: int) -> bool:  # noqa: ARG002  it is about no job
        """Write the new ones."""
        if self._new:
            self._rows.insert(self._connection, self._new, now)
        if self._again:
            self._rows.update(self._connection, self._again, now)
        return False


class Runs(RowFamily):
    """Runs by job, as the commands so far left them."""

    rank = 3

    def __init__(self, rows: RunRows, transaction: Transaction, undo: Undo) -> None:
        self._rows = rows
        self._connection = transaction.connection
        self._undo = undo
        self._known: dict[str, RunState] = {}
        self._new: dict[str, None] = {}
        self._changed: dict[str, RunState] = {}

    def load(self, needs: Sequence[Needs], jobs: Mapping[str, Job]) -> None:  # noqa: ARG002  they are locked with their jobs
        """Load the runs that commands name."""
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

    def save(self, deltas: Sequence[JobDelta], now: int) -> bool:  # noqa: ARG002  it was called for each change
        """Write the new ones and those that have come farther."""
        if self._new:
            self._rows.insert(self._connection, self._new)
        if self._changed:
            self._rows.update(self._connection, self._changed)
        return False
