"""The commands of time-driven duties, each for as many rows as a batch has room for."""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from typing import TypeVar

from msgspec import Struct as MsgStruct

from jobledger_service.core.model import lifecycle
from jobledger_service.core.model import work as rules
from jobledger_service.core.model.chunk import ChunkKey
from jobledger_service.core.model.history.change import SERVICE_ACTOR
from jobledger_service.core.model.refusals.errors import JobUnreadable
from jobledger_service.core.model.states import UNFINISHED, WAITING
from jobledger_service.core.write.row_families import Needs
from jobledger_service.core.write.working_set import WorkingSet

from .base import PartialCommand, ServiceCommand, chunks_in, deleted_rows, ended_rows

Item = TypeVar("Item")


class _Upkeep(ServiceCommand[int, int], PartialCommand[int, int, Item, None]):
    """A command about many rows, each of which is checked again; answers with the number of handled `items`."""

    __slots__ = ()

    def conclude(self, results: list[None], work: WorkingSet) -> int:  # noqa: ARG002  the number is all
        """Return the number of handled items; the next run handles the others."""
        return len(results)

    def do(self, work: WorkingSet, item: Item) -> None:
        with suppress(JobUnreadable):  # the reading counted and logged it
            self._do_if_due(work, item)

    @abstractmethod
    def _do_if_due(self, work: WorkingSet, item: Item) -> None:
        """Handle an item if it is still due."""


class ExpireLeases(_Upkeep[tuple[ChunkKey, float]], MsgStruct, frozen=True):
    """Count attempts whose lease expired `delay` microseconds ago as failed.

    Each key comes with a number from 0 to 1, uniform, for its backoff.
    """

    items: Sequence[tuple[ChunkKey, float]]
    delay: int = 0

    def needs(self) -> Needs:
        return Needs(chunks=tuple(key for key, _ in self.items))

    def rows_of(self, work: WorkingSet, item: tuple[ChunkKey, float]) -> int:
        return ended_rows(work, item[0][0])

    def _do_if_due(self, work: WorkingSet, item: tuple[ChunkKey, float]) -> None:
        (key, index), jitter_sample = item
        job = work.find(key)
        if job is None:
            return
        step = rules.expire(job, work.chunk(key, index), jitter_sample, work.chunks(job), work.now, self.delay)
        if step is not None:
            work.apply(step)


class LiftBackoffs(_Upkeep[ChunkKey], MsgStruct, frozen=True):
    """Make chunks claimable whose wait after an attempt is over."""

    items: Sequence[ChunkKey]

    def needs(self) -> Needs:
        return Needs(chunks=tuple(self.items))

    def _do_if_due(self, work: WorkingSet, item: ChunkKey) -> None:
        key, index = item
        job = work.find(key)
        step = rules.lift_backoff(job, work.chunk(key, index), work.now) if job else None
        if step is not None:
            work.apply(step)


class LiftSchedules(_Upkeep[str], MsgStruct, frozen=True):
    """Let jobs begin whose schedule_time has come: they take their slots, or wait for them."""

    items: Sequence[str]

    def needs(self) -> Needs:
        return Needs(jobs=tuple(self.items), requeues=True)

    def rows_of(self, work: WorkingSet, item: str) -> int:
        return 1 + chunks_in(work, item, *WAITING)

    def _do_if_due(self, work: WorkingSet, item: str) -> None:
        job = work.find(item)
        step = lifecycle.lift_schedule(job, work.calendar) if job else None
        if step is not None:
            work.apply(step)


class EndOverdue(_Upkeep[str], MsgStruct, frozen=True):
    """End jobs whose deadline has come; runs that timed out, `delay` microseconds later."""

    items: Sequence[str]
    delay: int = 0

    def needs(self) -> Needs:
        return Needs(jobs=tuple(self.items))

    def rows_of(self, work: WorkingSet, item: str) -> int:
        return 1 + chunks_in(work, item, *UNFINISHED)

    def _do_if_due(self, work: WorkingSet, item: str) -> None:
        job = work.find(item)
        step = None if job is None else lifecycle.end_overdue(job, work.chunks(job), work.now, self.delay)
        if step is not None:
            work.apply(step)


class RemoveExpired(_Upkeep[str], MsgStruct, frozen=True):
    """Delete ended jobs whose expire_time has come."""

    items: Sequence[str]

    def needs(self) -> Needs:
        return Needs(jobs=tuple(self.items))

    def rows_of(self, work: WorkingSet, item: str) -> int:
        return deleted_rows(work, item)

    def _do_if_due(self, work: WorkingSet, item: str) -> None:
        job = work.find(item)
        if job is None or not job.ended or job.expire_time is None or work.calendar < job.expire_time:
            return
        work.delete(job, lifecycle.delete(job, SERVICE_ACTOR, force=False, reason="its expire_time has come"))
