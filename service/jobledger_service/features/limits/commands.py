"""The commands about concurrency limits and paused kinds."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from jobledger_service.core.database.rows.paused_kinds import PausedKind
from jobledger_service.core.model.bounds.slots import LimitScope, limit_key
from jobledger_service.core.model.chunk import NO_KIND
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.refusals.limit_errors import LimitCeiling
from jobledger_service.core.model.states import WAITING
from jobledger_service.core.write.commands.base import Command, PartialCommand, ServiceCommand, chunks_in
from jobledger_service.core.write.row_families import Needs
from jobledger_service.core.write.working_set import WorkingSet

from .family import Limits, PausedKinds, pause_key
from .rules import Limit

SPARE_WAKEUPS: Final = 32
"""Claims that a resumed kind wakes beyond its waiting chunks: other replicas may add chunks meanwhile."""


class SetLimit(Command[str, Limit | None], MsgStruct, frozen=True):
    """Set how many jobs of a scope may run at once; None removes the limit. Answers with the limit.

    An operator sets the ceiling, too; others stay below it. Raises LimitCeiling.
    """

    owner: str
    scope: LimitScope
    max_running: int | None
    reason: str = ""
    by: str = ""
    by_operator: bool = False

    def needs(self) -> Needs:
        scopes = (scope for scope in (self.scope, self.scope.each) if scope is not None)
        return Needs(rows={Limits: [limit_key(self.owner, scope) for scope in scopes]})

    def decide(self, work: WorkingSet) -> str:
        key, limits = limit_key(self.owner, self.scope), work.family(Limits)
        if not self.by_operator:
            self._check_ceiling(limits, limits.find(key))
        if self.max_running is not None or limits.find(key) is not None:
            limits.set(self._limit(limits, work.now))
        return key

    def _limit(self, limits: Limits, now: Micros) -> Limit:
        through = "" if self.scope.of_each_value else None
        unset = Limit(self.owner, self.scope.text, None, is_set=False, values_through=through)
        if self.max_running is not None:
            ceiling = self.max_running if self.by_operator else _own_ceiling(limits.find(unset.key))
            set_ = {"reason": self.reason, "set_by": self.by, "update_time": now, "ceiling": ceiling}
            return replace(unset, max_running=self.max_running, is_set=True, **set_)
        each = self._each(limits)
        return replace(unset, max_running=each.max_running if each else None)

    def _each(self, limits: Limits) -> Limit | None:
        return limits.find(limit_key(self.owner, self.scope.each)) if self.scope.each else None

    def _check_ceiling(self, limits: Limits, row: Limit | None) -> None:
        ceiling = _own_ceiling(row)
        if self.max_running is None:
            if ceiling is not None:
                raise LimitCeiling(self.scope.text, ceiling)
            return
        if ceiling is None and (each := self._each(limits)) is not None:
            ceiling = each.ceiling
        if ceiling is not None and self.max_running > ceiling:
            raise LimitCeiling(self.scope.text, ceiling)

    def answer(self, decided: str, work: WorkingSet) -> Limit | None:
        return work.family(Limits).find(decided)


def _own_ceiling(row: Limit | None) -> int | None:
    return row.ceiling if row is not None and row.is_set else None


class PauseKind(Command[PausedKind, PausedKind], MsgStruct, frozen=True):
    """Pause a kind of an owner; a pause that lasts gets the new reason. Raises TooManyPausedKinds."""

    owner: str
    kind: str
    reason: str
    by: str

    def needs(self) -> Needs:
        return Needs(rows={PausedKinds: (pause_key(self.owner, self.kind),)})

    def decide(self, work: WorkingSet) -> PausedKind:
        pauses, queue = work.family(PausedKinds), (self.owner, self.kind)
        known = pauses.find(queue)
        if known is None:
            pauses.check_room(self.owner)
            work.record_pause(queue, 0)
        since = work.now if known is None else known.pause_time
        pause = PausedKind(*queue, self.reason, self.by, since, max(since, work.now))
        pauses.put(queue, pause)
        return pause


class ResumeKind(Command[bool, bool], MsgStruct, frozen=True):
    """End the pause of a kind; answers with whether there was one."""

    owner: str
    kind: str

    def needs(self) -> Needs:
        return Needs(rows={PausedKinds: (pause_key(self.owner, self.kind),)})

    def decide(self, work: WorkingSet) -> bool:
        pauses, queue = work.family(PausedKinds), (self.owner, self.kind)
        if pauses.find(queue) is None:
            return False
        pauses.put(queue, None)
        waiting = pauses.waiting(queue) + SPARE_WAKEUPS
        for woken in queue, (self.owner, NO_KIND):
            work.record_pause(woken, waiting)
        return True


class GrantSlots(
    ServiceCommand[tuple[int, int], tuple[int, int]],
    PartialCommand[tuple[int, int], tuple[int, int], str, bool],
    MsgStruct,
    frozen=True,
):
    """Grant free slots to parked jobs, in this order, as many as a batch has room for.

    Answers with their number, and with how many of `items` it checked.
    """

    items: Sequence[str]

    def needs(self) -> Needs:
        return Needs(jobs=tuple(self.items), requeues=True)

    def rows_of(self, work: WorkingSet, item: str) -> int:
        return 1 + chunks_in(work, item, *WAITING)

    def conclude(self, results: list[bool], work: WorkingSet) -> tuple[int, int]:  # noqa: ARG002  the numbers are all
        return sum(results), len(results)

    def do(self, work: WorkingSet, item: str) -> bool:
        job = work.find(item)
        return job is not None and work.grant_slots(job)
