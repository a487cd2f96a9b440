"""The limits of one batch: those that it loaded and set, and the slots that its jobs took, released and wait for."""

from collections.abc import Iterable

from msgspec.structs import replace

from jobledger_service.core.model.job import Job
from jobledger_service.core.model.slots import Limit

from .undo import Undo
from .write_ports import Transaction


class Slots:
    """Limits by key, as the commands so far left them. Their counts are kept as differences to the rows."""

    def __init__(self, undo: Undo) -> None:
        self._undo = undo
        self._limits: dict[str, Limit] = {}
        self._new: dict[str, Limit] = {}
        self._set: dict[str, Limit] = {}
        self._counts: dict[str, tuple[int, int]] = {}

    def load(self, transaction: Transaction, keys: Iterable[str]) -> None:
        """Load limits; their rows are locked after all jobs."""
        self._limits = transaction.limits(keys)

    def limit(self, key: str) -> Limit | None:
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

    def count(self, before: Job | None, after: Job | None) -> None:
        """Record which slots a job has taken or released, and which it waits for."""
        for job, sign in ((before, -1), (after, 1)):
            if job is not None:
                for key in job.slots:
                    self._add(key, sign, 0)
                if job.parked_for:
                    self._add(job.parked_for, 0, sign)

    def _add(self, key: str, running: int, waiting: int) -> None:
        had = self._counts.get(key, (0, 0))
        self._undo.put(self._counts, key, (had[0] + running, had[1] + waiting))

    @property
    def new(self) -> list[Limit]:
        """The limits that are new."""
        return list(self._new.values())

    @property
    def changed(self) -> list[Limit]:
        """The limits whose maximum, or its origin, the batch changed."""
        return list(self._set.values())

    @property
    def taken(self) -> dict[str, tuple[int, int]]:
        """By limit, the differences of jobs that hold a slot, and of jobs that wait for one."""
        return {key: counts for key, counts in self._counts.items() if any(counts)}

    @property
    def freed(self) -> bool:
        """Whether jobs that wait for a slot may get one."""
        return bool(self._set) or any(running < 0 for running, _ in self._counts.values())
