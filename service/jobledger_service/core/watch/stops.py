"""Stopped jobs of which workers may hold chunks, for the streams of these workers."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct as MsgStruct

from jobledger_service.core.database.rows.entry import Entry
from jobledger_service.core.model.job import job_id_of, owner_of
from jobledger_service.core.model.owners import ALL_OWNERS
from jobledger_service.core.model.refusals.errors import Draining
from jobledger_service.core.model.states import JobState

from .subscription import FeedCounts, Wakeup

MAX_JOBS: Final = 1_000
"""The maximum of jobs that one message names, and that wait for one stream; beyond it the worker checks all leases."""
ANY_KIND: Final = ""

_HELD: Final = frozenset({JobState.RUNNING, JobState.CANCELLING})
"""The states in which chunks may be under a lease."""
_GOES_ON: Final = frozenset({JobState.RUNNING, JobState.COMPLETED})
"""The states to which a job changes from these without ending a lease."""


class Stops(MsgStruct, frozen=True):
    """The jobs whose leases a worker must check; `check_all`: all of its leases."""

    job_ids: Sequence[str] = ()
    check_all: bool = False


class StopSubscription:
    """Follows the jobs of some owners, or of ALL_OWNERS, of some kinds or of all. Used by one task, on the event loop.

    It begins with "check all": what happened before is not reported. A stream that lags needs no history either.
    It ends when `closing` is set.
    """

    def __init__(
        self,
        owners: Sequence[str],
        kinds: frozenset[str],
        closing: asyncio.Event,
        unsubscribe: "Callable[[StopSubscription], None]",
    ) -> None:
        self.owners = owners
        self.kinds = kinds or frozenset({ANY_KIND})
        self._closing = closing
        self._unsubscribe = unsubscribe
        self._jobs: dict[str, None] = {}
        self._check_all = True
        self._wakeup = Wakeup()

    def add(self, job_id: str) -> None:
        """Add a stopped job."""
        if len(self._jobs) >= MAX_JOBS:
            self.check_all()
        elif not self._check_all:
            self._jobs[job_id] = None
            self.wake()

    def check_all(self) -> None:
        """Make the worker check all of its leases: the stopped jobs are not known."""
        self._jobs.clear()
        self._check_all = True
        self.wake()

    def wake(self) -> None:
        """Wake the stream."""
        self._wakeup.wake()

    async def next(self, seconds: float) -> Stops:
        """Return what was stopped since the last call; nothing after `seconds` of quiet. Raises Draining."""
        if not self._has_pending and not self._closing.is_set():
            await self._wakeup.wait(seconds)
        if self._closing.is_set() and not self._has_pending:
            raise Draining
        stops = Stops(tuple(self._jobs), self._check_all)
        self._jobs.clear()
        self._check_all = False
        return stops

    @property
    def _has_pending(self) -> bool:
        return self._check_all or bool(self._jobs)

    def close(self) -> None:
        """Leave the feed."""
        self._unsubscribe(self)


class StopSubscribers:
    """The streams of one process, by owner and kind. An entry of an owner without streams costs one look-up."""

    def __init__(self, counts: FeedCounts) -> None:
        self._counts = counts
        self._of_owner: dict[str, dict[str, set[StopSubscription]]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[StopSubscription]:
        yield from {one for by_kind in self._of_owner.values() for one in _all_of(by_kind)}

    def add(self, subscription: StopSubscription) -> None:
        """Add a stream."""
        self._count += 1
        for owner in subscription.owners:
            by_kind = self._of_owner.setdefault(owner, {})
            for kind in subscription.kinds:
                by_kind.setdefault(kind, set()).add(subscription)

    def remove(self, subscription: StopSubscription) -> None:
        """Remove a stream."""
        self._count -= 1
        for owner in subscription.owners:
            by_kind = self._of_owner[owner]
            for kind in subscription.kinds:
                by_kind[kind].remove(subscription)
                if not by_kind[kind]:
                    del by_kind[kind]
            if not by_kind:
                del self._of_owner[owner]

    def publish(self, entry: Entry) -> None:
        """Notify the streams of an entry that ends leases, or requests their end."""
        for owner in (owner_of(entry.job_key), ALL_OWNERS):
            if (by_kind := self._of_owner.get(owner)) is not None:
                self._publish(entry, by_kind)

    def _publish(self, entry: Entry, by_kind: dict[str, set[StopSubscription]]) -> None:
        if not entry.is_readable:
            for one in _all_of(by_kind):
                self._counts.wakeups += 1
                one.check_all()
        elif entry.before is not None and _is_stop(entry):
            job_id = job_id_of(entry.job_key)
            for kind in (ANY_KIND, entry.before.kind):
                for one in by_kind.get(kind, ()):
                    self._counts.wakeups += 1
                    one.add(job_id)

    def check_all(self) -> None:
        """Make every stream's worker check all of its leases."""
        for one in self:
            one.check_all()

    def wake(self) -> None:
        """Wake every stream."""
        for one in self:
            one.wake()


def _all_of(by_kind: dict[str, set[StopSubscription]]) -> Iterable[StopSubscription]:
    return {one for of_kind in by_kind.values() for one in of_kind}


def _is_stop(entry: Entry) -> bool:
    """Whether an entry ends held leases, or requests their end, other than by their worker."""
    before, after = entry.before, entry.after
    if before is None or before.state not in _HELD:
        return False
    return after is None or (after.state is not before.state and after.state not in _GOES_ON)
