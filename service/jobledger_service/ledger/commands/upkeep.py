"""The commands that the service gives itself: what time brings about."""

from collections.abc import Sequence

from msgspec import Struct

from jobledger_service.domain import lifecycle
from jobledger_service.domain import work as rules
from jobledger_service.domain.change import SERVICE, Step
from jobledger_service.domain.states import ChunkState
from jobledger_service.ledger.ports import ChunkKey
from jobledger_service.ledger.working import Needs, WorkingSet

from .base import OfService


class _AnswersCount(OfService):
    """A command that answers with how many rows it changed."""

    __slots__ = ()

    def answer(self, decided: int, work: WorkingSet) -> int:  # noqa: ARG002  the form of a command
        return decided


class ExpireLeases(_AnswersCount, Struct, frozen=True):
    """Count attempts whose lease ran out as failed; each key with a number drawn from 0 to 1 for its backoff."""

    chunks: Sequence[tuple[ChunkKey, float]]

    @property
    def weight(self) -> int:
        return len(self.chunks)

    def needs(self) -> Needs:
        return Needs(chunks=tuple(key for key, _ in self.chunks))

    def decide(self, work: WorkingSet) -> int:
        return sum(self._one(work, key, roll) for key, roll in self.chunks)

    def _one(self, work: WorkingSet, key: ChunkKey, roll: float) -> bool:
        job = work.find(key[0])
        if job is None:
            return False
        step = rules.expire(job, work.chunk(job, key[1]), roll, lambda: work.chunks_of(job), work.now)
        if step is not None:
            work.apply(step)
        return step is not None


class ReadyRetries(_AnswersCount, Struct, frozen=True):
    """Let chunks go whose wait after a failed attempt is over."""

    chunks: Sequence[ChunkKey]

    @property
    def weight(self) -> int:
        return len(self.chunks)

    def needs(self) -> Needs:
        return Needs(chunks=tuple(self.chunks))

    def decide(self, work: WorkingSet) -> int:
        return sum(self._one(work, key) for key in self.chunks)

    def _one(self, work: WorkingSet, key: ChunkKey) -> bool:
        job = work.find(key[0])
        chunk = work.chunk(job, key[1]) if job else None
        if job is None or chunk is None or chunk.state is not ChunkState.PENDING or chunk.not_before is None:
            return False
        if work.now < chunk.not_before:
            return False
        work.apply(Step(job, (rules.due(chunk),)))
        return True


class StopOverdue(_AnswersCount, Struct, frozen=True):
    """Stop CANCELLING jobs whose grace period is over."""

    jobs: Sequence[str]

    @property
    def weight(self) -> int:
        return len(self.jobs)

    def needs(self) -> Needs:
        return Needs(jobs=tuple(self.jobs))

    def decide(self, work: WorkingSet) -> int:
        return sum(self._one(work, key) for key in self.jobs)

    def _one(self, work: WorkingSet, key: str) -> bool:
        job = work.find(key)
        if job is None or job.ended:
            return False
        step = lifecycle.stop_overdue(job, lifecycle.unfinished(work.chunks_of(job)), work.now)
        if step is not None:
            work.apply(step)
        return step is not None


class RemoveExpired(_AnswersCount, Struct, frozen=True):
    """Delete ended jobs whose time has come."""

    jobs: Sequence[str]

    @property
    def weight(self) -> int:
        return len(self.jobs)

    def needs(self) -> Needs:
        return Needs(jobs=tuple(self.jobs))

    def decide(self, work: WorkingSet) -> int:
        return sum(self._one(work, key) for key in self.jobs)

    def _one(self, work: WorkingSet, key: str) -> bool:
        job = work.find(key)
        if job is None or not job.ended or job.expire_time is None or work.now < job.expire_time:
            return False
        work.delete(job, lifecycle.delete(job, SERVICE, force=False, reason="its expire_time has come"))
        return True
