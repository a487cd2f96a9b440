"""The commands about concurrency limits."""

from collections.abc import Sequence

from msgspec import Struct as MsgStruct

from jobledger_service.core.ledger.commands.base import Command, ServiceCommand, chunks_in
from jobledger_service.core.ledger.commands.partial_commands import PartialCommand
from jobledger_service.core.ledger.row_families import Needs
from jobledger_service.core.ledger.working_set import WorkingSet
from jobledger_service.core.model.change import SERVICE_ACTOR, Change, ChangeType, Step
from jobledger_service.core.model.slots import LimitScope, limit_key
from jobledger_service.core.model.states import WAITING

from .family import Limits
from .rules import Limit, admitted


class SetLimit(Command[str, Limit | None], MsgStruct, frozen=True):
    """Set how many jobs of a scope may be in work at once, or with None remove the limit; answers with the limit."""

    owner: str
    scope: LimitScope
    max_running: int | None

    def needs(self) -> Needs:
        scopes = (one for one in (self.scope, self.scope.each) if one is not None)
        return Needs(rows={Limits: [limit_key(self.owner, one) for one in scopes]})

    def decide(self, work: WorkingSet) -> str:
        key, limits = limit_key(self.owner, self.scope), work.family(Limits)
        if self.max_running is not None or limits.find(key) is not None:
            limits.set(self._limit(limits))
        return key

    def _limit(self, limits: Limits) -> Limit:
        number, is_set = self.max_running, self.max_running is not None
        if not is_set and self.scope.each is not None:
            each = limits.find(limit_key(self.owner, self.scope.each))
            number = each.max_running if each else None
        through = "" if self.scope.of_each_value else None
        return Limit(self.owner, self.scope.text, number, is_set=is_set, values_through=through)

    def answer(self, decided: str, work: WorkingSet) -> Limit | None:
        return work.family(Limits).find(decided)


class GrantSlots(
    ServiceCommand[tuple[int, int], tuple[int, int]],
    PartialCommand[tuple[int, int], tuple[int, int], str, bool],
    MsgStruct,
    frozen=True,
):
    """Let parked jobs go for which there is a slot, in this order, as many as a batch has room for.

    Answers with their number, and with how many of `items` it checked.
    """

    items: Sequence[str]

    def needs(self) -> Needs:
        return Needs(jobs=tuple(self.items), requeues=True)

    def rows_of(self, work: WorkingSet, item: str) -> int:
        return 1 + chunks_in(work, item, *WAITING)

    def decide(self, work: WorkingSet) -> tuple[int, int]:
        granted = self.do_within_budget(work)
        return sum(granted), len(granted)

    def do(self, work: WorkingSet, item: str) -> bool:
        job = work.find(item)
        if job is None or not job.parked_for:
            return False
        after = admitted(job, work.family(Limits).over(job))
        if after.parked_for:
            work.apply(Step(after))
            return False
        change = Change(ChangeType.SLOT_GRANTED, SERVICE_ACTOR, job.state, job.state)
        work.apply(Step(after, (), change))
        return True
