"""The changes that one watch delivers: those that were asked for, and those that no watch may miss."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct as MsgStruct

from jobledger_service.core.database.rows.entry import Entry
from jobledger_service.core.model.filters.filter import JobFilter
from jobledger_service.core.model.history.change import ChangeType
from jobledger_service.core.model.states import ENDED, JobState

MAX_RECENT_JOBS: Final = 2_048
"""A watch remembers at least so many jobs of which it has delivered a message, and at most twice as many."""

_LEASED: Final = frozenset({JobState.RUNNING, JobState.CANCELLING})
"""The states of jobs whose chunks may be under a lease."""
_KEEPING_LEASES: Final = frozenset({JobState.RUNNING, JobState.COMPLETED})
"""The states to which a job changes from these without ending a lease."""


class ChangeFilter(MsgStruct, frozen=True):
    """The changes that are wanted: those of some types, all when empty, perhaps only with another state after."""

    types: frozenset[ChangeType] = frozenset()
    state_changes_only: bool = False

    def wants(self, entry: Entry) -> bool:
        """Whether an entry of a job that existed before has a wanted change."""
        if self.state_changes_only and entry.before and entry.after and entry.before.state is entry.after.state:
            return False
        return not self.types or not self.types.isdisjoint(entry.changes)


ALL_CHANGES: Final = ChangeFilter()


class Selection:
    """Selects entries of one watch; the first of each job on it, and all that tell of its end, are selected always.

    With `begins_complete` the watch has shown all jobs that match when it begins. Otherwise it remembers the jobs of
    recent messages. A job that it has forgotten has a first message again: memory is bounded, and nothing is missed.
    """

    def __init__(self, changes: ChangeFilter, jobs: JobFilter | None, *, begins_complete: bool) -> None:
        self._changes = changes
        self._jobs = jobs
        self.selects_all = changes == ALL_CHANGES
        self._begins_complete = begins_complete
        self._recent: set[str] = set()
        self._older: set[str] = set()

    def may_select(self, entry: Entry) -> bool:
        """Whether an entry may be selected when its turn comes."""
        return self.selects_all or self._always(entry) or self._changes.wants(entry) or not self._knows(entry)

    def select(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Return the entries to deliver, in order."""
        if self.selects_all:
            return entries
        selected = []
        for entry in entries:
            if self.may_select(entry):
                selected.append(entry)
                self._remember(entry)
        return selected

    def _always(self, entry: Entry) -> bool:
        """Whether the job is new to the watch by this change, or leaves it, or ends."""
        before, after = entry.before, entry.after
        if before is None or after is None:  # also for an entry that cannot be read
            return True
        if after.state in ENDED and before.state not in ENDED:
            return True
        return self._jobs is not None and not (self._jobs.matches(before) and self._jobs.matches(after))

    def _knows(self, entry: Entry) -> bool:
        return self._begins_complete or entry.job_key in self._recent or entry.job_key in self._older

    def _remember(self, entry: Entry) -> None:
        if self._begins_complete:
            return
        self._recent.add(entry.job_key)
        if len(self._recent) >= MAX_RECENT_JOBS:
            self._older, self._recent = self._recent, set()


def may_end_leases(entry: Entry) -> bool:
    """Whether an entry ends leases, or requests their end, other than by their workers; also when it is unreadable."""
    before, after = entry.before, entry.after
    if before is None or before.state not in _LEASED:
        return not entry.is_readable
    return after is None or (after.state is not before.state and after.state not in _KEEPING_LEASES)
