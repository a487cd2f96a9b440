"""How far the service's own jobs are, which several features work: written in the transaction of each step."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from jobledger_service.core.model.change import JobDelta
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.run import NEW_RUN, RunState
from jobledger_service.core.model.service_kinds import is_reserved

from .row_families import Needs, RowFamily, keys_of
from .undo import Undo


class RunRows(Protocol):
    """The rows of runs, in the transaction of a batch. They belong to locked jobs: nobody waits for one."""

    def find(self, keys: Iterable[str]) -> dict[str, RunState]:
        """Return those that exist, by job."""

    def insert(self, keys: Iterable[str]) -> None:
        """Insert those of new jobs."""

    def update(self, runs: Mapping[str, RunState]) -> None:
        """Write how far runs are; one of a deleted job is gone already."""


class Runs(RowFamily):
    """Runs by job, as the commands so far left them."""

    rank = 3

    def __init__(self, rows: RunRows, undo: Undo) -> None:
        self._rows = rows
        self._undo = undo
        self._known: dict[str, RunState] = {}
        self._new: dict[str, None] = {}
        self._changed: dict[str, RunState] = {}

    def load(self, needs: Sequence[Needs], jobs: Mapping[str, Job]) -> None:  # noqa: ARG002  they are locked with their jobs
        """Load the runs that commands name."""
        if keys := keys_of(Runs, needs):
            self._known = self._rows.find(keys)

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
            self._rows.insert(self._new)
        if self._changed:
            self._rows.update(self._changed)
        return False
