"""The limits of one batch: those that it loaded and set, and the slots that its jobs took, released and wait for."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace
from sqlalchemy import Connection

from jobledger_service.core.ledger.row_families import Needs, OpenFamily, RowFamily, keys_of
from jobledger_service.core.ledger.undo import Undo
from jobledger_service.core.model.change import JobDelta
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.lifecycle import NewJob
from jobledger_service.core.model.service_kinds import is_reserved
from jobledger_service.core.store.dialects import Dialect

from .rules import Limit, admitted, counted_limits, limit_keys, limits_over, needs_update, released
from .store import LimitRows

_NewJobs = dict[tuple[str, bytes], NewJob]
"""By key and fingerprint; of several, the first one is created, and brings its limits along."""


def limits_family(dialect: Dialect) -> OpenFamily:
    """Return the family of concurrency limits."""
    rows = LimitRows(dialect)
    return lambda transaction, undo: Limits(rows, transaction.connection, undo)


class Limits(RowFamily):
    """Limits by key, as the commands so far left them. What they hold is counted as a difference to the rows.

    A batch that reads a limit locks all that count one of its jobs at once; any other counts without having read one.
    """

    rank = 1

    def __init__(self, rows: LimitRows, connection: Connection, undo: Undo) -> None:
        self._rows = rows
        self._connection = connection
        self._undo = undo
        self._limits: dict[str, Limit] = {}
        self._new_jobs: _NewJobs = {}
        self._new: dict[str, Limit] = {}
        self._set: dict[str, Limit] = {}
        self._counts: dict[str, tuple[int, int]] = {}

    def load(self, needs: Sequence[Needs], jobs: Mapping[str, Job]) -> None:
        """Load the limits over jobs that are about to wait for workers, and then all that the batch may count at."""
        keys = keys_of(Limits, needs)
        for new in (new for need in needs for new in need.new_jobs):
            keys.update(limit_keys(new.spec.owner, new.spec.kind, new.labels))
            self._new_jobs.setdefault((new.spec.key, new.spec.fingerprint), new)
        requeued = {key for need in needs if need.requeues for key in need.jobs}
        keys.update(key for job in requeued & jobs.keys() for key in limits_over(jobs[job]))
        if keys:
            keys.update(key for job in jobs.values() for key in counted_limits(job))
            self._limits = self._rows.load(self._connection, keys)

    def changed(self, before: Job | None, after: Job) -> Job:
        """Give a job that begins to wait its slots, or park it; one that ended, or is held until a time, has none."""
        waits = not after.ended and not is_reserved(after.spec.kind)
        if before is None and waits:
            self._set_brought(after)
        if after.ended or after.held_until is not None:
            after = released(after)
        elif waits and (before is None or before.ended or before.held_until is not None):
            after = admitted(after, self.over(after))
        if before is None or (before.slots, before.parked_for) != (after.slots, after.parked_for):
            self._count(before, -1)
            self._count(after, 1)
        return after

    def deleted(self, job: Job) -> None:
        """Take the slots of a deleted job back."""
        self._count(job, -1)

    def _set_brought(self, job: Job) -> None:
        """Set the limits that a job brings along, unless an operator has."""
        new = self._new_jobs.get((job.key, job.spec.fingerprint))
        for one in new.limits if new else ():
            limit = Limit(job.spec.owner, one.scope, one.max_running, by_job=True)
            if needs_update(limit, self.find(limit.key), job.spec.create_time):
                self.set(limit, job.spec.create_time)

    def over(self, job: Job) -> list[Limit]:
        """Return the limits over a job."""
        return [limit for key in limits_over(job) if (limit := self.find(key)) is not None]

    def find(self, key: str) -> Limit | None:
        """Return a loaded limit, as the earlier commands left it; None when it was never set."""
        limit = self._limits.get(key)
        if limit is None:
            return None
        running, waiting = self._counts.get(key, (0, 0))
        return replace(limit, running=limit.running + running, waiting=limit.waiting + waiting)

    def set(self, limit: Limit, now: int) -> None:
        """Set how many jobs of a scope may run; the counts of running and waiting jobs stay."""
        old = self._limits.get(limit.key)
        if old is not None:
            limit = replace(limit, running=old.running, waiting=old.waiting)
        limit = replace(limit, set_time=now)
        self._undo.put(self._limits, limit.key, limit)
        is_new = old is None or limit.key in self._new
        self._undo.put(self._new if is_new else self._set, limit.key, limit)

    def _count(self, job: Job | None, sign: int) -> None:
        if job is not None:
            for key in job.slots:
                self._add(key, sign, 0)
            if job.parked_for:
                self._add(job.parked_for, 0, sign)

    def _add(self, key: str, running: int, waiting: int) -> None:
        had = self._counts.get(key, (0, 0))
        self._undo.put(self._counts, key, (had[0] + running, had[1] + waiting))

    def save(self, deltas: Sequence[JobDelta], now: int) -> bool:  # noqa: ARG002  it was called for each change
        """Write what was set and counted; return whether jobs that wait for a slot may get one."""
        if not (self._new or self._set or self._counts):
            return False
        self._rows.save(self._connection, self._new, self._set, self._counts)
        return bool(self._set) or any(running < 0 for running, _ in self._counts.values())
