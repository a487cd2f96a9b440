"""The limits and the paused kinds of one batch, and the slots that its jobs took, released and wait for."""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from jobledger_service.core.database.rows.paused_kinds import PausedKind, PausedKindRows
from jobledger_service.core.model.bounds.slots import LimitScope, limit_key
from jobledger_service.core.model.chunk import Queue
from jobledger_service.core.model.job import Job, owner_of
from jobledger_service.core.model.refusals.limit_errors import TooManyPausedKinds
from jobledger_service.core.model.service_kinds import is_reserved
from jobledger_service.core.model.states import JobState
from jobledger_service.core.write.postponed import Postponed
from jobledger_service.core.write.row_families import Guard, Needs, keys_of
from jobledger_service.core.write.undo import Undo
from jobledger_service.core.write.writing import Transaction

from .rules import Limit, admitted, counted_limits, in_force, keys_over, released, scopes_over
from .store import LimitRows

MAX_PAUSED_KINDS: Final = 1_000
"""Paused kinds of an owner."""


class Limits(Guard):
    """Limits by key, as the commands so far left them. What they hold is counted as a difference to the rows.

    A batch that reads a limit locks all that count one of its jobs at once; any other when it writes the counts.
    """

    rank = 1

    def __init__(self, rows: LimitRows, transaction: Transaction, undo: Undo) -> None:
        self._rows = rows
        self._connection = transaction.connection
        self._undo = undo
        self._known: set[str] = set()
        """The keys that were looked for."""
        self._paused: set[str] = set()
        """The jobs that are not to begin."""
        self._limits: dict[str, Limit] = {}
        self._followers: dict[str, Limit] = {}
        """Values of labels without a row, under limits for each value: those that come to count a job get one."""
        self._new: dict[str, Limit] = {}
        self._set: dict[str, Limit] = {}
        self._counts: dict[str, tuple[int, int]] = {}

    def load(self, needs: Sequence[Needs], jobs: Mapping[str, Job]) -> None:
        """Load the limits over jobs that are about to wait for workers, and then all that the batch may count at."""
        keys = keys_of(Limits, needs)
        for new in (new for need in needs for new in need.new_jobs):
            keys.update(keys_over(new.spec, new.labels))
        for need in needs:
            for job in filter(None, map(jobs.get, need.jobs if need.requeues else ())):
                keys.update(keys_over(job.spec, {**job.labels, **need.new_labels}))
        if any(need.starts for need in needs):
            keys |= self._keys_of_paused(jobs)
        if keys:
            keys.update(key for job in jobs.values() for key in counted_limits(job))
            self._limits = self._rows.load(self._connection, keys)
            self._known = keys

    def _keys_of_paused(self, jobs: Mapping[str, Job]) -> set[str]:
        """Return the keys over the jobs that are not to begin, as one of them is paused. This locks nothing."""
        queued = {job.key: keys_over(job.spec, job.labels) for job in jobs.values() if job.state is JobState.QUEUED}
        paused = self._rows.paused(self._connection, {key for keys in queued.values() for key in keys})
        self._paused = {job for job, keys in queued.items() if not paused.isdisjoint(keys)}
        return {key for job in self._paused for key in queued[job]}

    def changed(self, before: Job | None, after: Job) -> Job:
        """Give a job that begins to wait its slots, or park it; one that ended, or is held until a time, has none."""
        waits = not after.ended and not is_reserved(after.spec.kind)
        if after.ended or after.held_until is not None:
            after = released(after)
        elif waits and (before is None or before.ended or before.held_until is not None):
            after = admitted(after, self.over(after))
        if before is None or (before.slots, before.parked_for) != (after.slots, after.parked_for):
            self._count(before, -1)
            self._count(after, 1)
        return after

    def starting(self, job: Job) -> Job:
        """Park a job under a limit that is paused, whether it held a slot of it or came before it."""
        if job.key not in self._paused:
            return job
        paused = next((limit for limit in self.over(job) if limit.max_running == 0), None)
        return job if paused is None else replace(job, slots=(), parked_for=paused.key)

    def with_slots(self, job: Job) -> Job:
        """Return a parked job with a slot of each limit over it, or parked for one that has none."""
        after = admitted(job, self.over(job))
        return job if after == job else after

    def deleted(self, job: Job) -> None:
        """Take the slots of a deleted job back."""
        self._count(job, -1)

    def over(self, job: Job) -> list[Limit]:
        """Return the limits in force over a job."""
        scopes = scopes_over(job.spec, job.labels)
        return [limit for scope in scopes if (limit := self.in_force(job.spec.owner, scope)) is not None]

    def in_force(self, owner: str, scope: LimitScope) -> Limit | None:
        """Return the limit that holds over a scope, as the earlier commands left it; None when there is none.

        Raises Postponed when the batch has not loaded it, as an earlier command changed the job's labels.
        """
        key, each = limit_key(owner, scope), scope.each
        if key not in self._known:
            raise Postponed
        limit = in_force(self.find(key), self.find(limit_key(owner, each)) if each else None, owner, scope)
        if limit is not None and key not in self._limits:
            self._followers[key] = replace(limit, running=0, waiting=0)
        return limit

    def find(self, key: str) -> Limit | None:
        """Return a limit of which there is a row, or will be, as the earlier commands left it; None for another."""
        limit = self._limits.get(key) or self._followers.get(key)
        if limit is None:
            return None
        running, waiting = self._counts.get(key, (0, 0))
        return replace(limit, running=limit.running + running, waiting=limit.waiting + waiting)

    def set(self, limit: Limit) -> None:
        """Set how many jobs of a scope may run; the counts of running and waiting jobs stay."""
        old = self._limits.get(limit.key)
        if old is not None:
            limit = replace(limit, running=old.running, waiting=old.waiting)
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

    def save(self) -> None:
        """Write what was set and counted; it is due when jobs that wait for a slot may get one."""
        counted = {key for key, count in self._counts.items() if any(count)}
        if not (self._new or self._set or counted):
            return
        if unread := counted - self._known:
            self._limits |= self._rows.load(self._connection, unread)
        new = (counted & self._followers.keys()) | self._new.keys()
        changed = (counted & self._limits.keys()) | self._set.keys()
        limits = {key: limit for key in new | changed if (limit := self.find(key))}
        self._rows.save(self._connection, [limits[key] for key in new], [limits[key] for key in changed - new])
        self.is_due = bool(self._set) or any(running < 0 for running, _ in self._counts.values())


def pause_key(owner: str, kind: str) -> str:
    """Return the key by which a command names a kind that it pauses or resumes."""
    return f"{owner}/{kind}"


class PausedKinds(Guard):
    """Paused kinds by queue, as the commands so far left them; None for one that was resumed."""

    rank = 7

    def __init__(self, rows: PausedKindRows, transaction: Transaction, undo: Undo) -> None:
        self._rows = rows
        self._connection = transaction.connection
        self._undo = undo
        self._before: Mapping[Queue, PausedKind] = {}
        self._now: dict[Queue, PausedKind | None] = {}

    def load(self, needs: Sequence[Needs], _jobs: Mapping[str, Job]) -> None:
        """Load all paused kinds of the owners that commands name, at most MAX_PAUSED_KINDS each."""
        if owners := {owner_of(key) for key in keys_of(PausedKinds, needs)}:
            self._before = self._rows.lock(self._connection, owners)
            self._now = dict(self._before)

    def find(self, queue: Queue) -> PausedKind | None:
        """Return a paused kind, None for one that is not paused."""
        return self._now.get(queue)

    def waiting(self, queue: Queue) -> int:
        """Return how many chunks of a kind are pending."""
        return self._rows.waiting(self._connection, queue)

    def check_room(self, owner: str) -> None:
        """Raise TooManyPausedKinds when an owner has as many as it may."""
        paused = [queue for queue, pause in self._now.items() if pause is not None and queue[0] == owner]
        if len(paused) >= MAX_PAUSED_KINDS:
            raise TooManyPausedKinds(MAX_PAUSED_KINDS)

    def put(self, queue: Queue, pause: PausedKind | None) -> None:
        """Pause a kind, or with None resume it."""
        self._undo.put(self._now, queue, pause)

    def save(self) -> None:
        self._rows.save(self._connection, self._before, self._now)
