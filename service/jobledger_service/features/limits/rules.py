"""Which jobs get a slot of each concurrency limit over them, and which wait for one."""

from collections.abc import Iterable, Mapping

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from jobledger_service.core.model.bounds.slots import LimitScope, limit_key, scope_of
from jobledger_service.core.model.job import Job, JobSpec
from jobledger_service.core.model.micros import Micros


class Limit(MsgStruct, frozen=True):
    """A limit: at most `max_running` jobs of a scope hold a slot, None for any number; `waiting` ones are parked."""

    owner: str
    scope: str
    """The text of what it is over."""
    max_running: int | None
    running: int = 0
    waiting: int = 0
    is_set: bool = True
    """Whether it has a number of its own; else a value of a label has that of the limit for each value."""
    values_through: str | None = None
    """Of a limit for each value: the last key to which its number was copied; None when all values have it."""
    reason: str = ""
    set_by: str = ""
    update_time: Micros | None = None
    """When it was set last, in microseconds since 1970; None for one that an earlier version set."""

    ceiling: int | None = None
    """The number that an operator set last, above which the owner's admin cannot go; None without one."""

    @property
    def over(self) -> LimitScope:
        """What it is over."""
        return scope_of(self.scope)

    @property
    def key(self) -> str:
        """The ledger-wide key."""
        return f"{self.owner}/{self.scope}"

    @property
    def each_key(self) -> str:
        """The key of the limit for each value that a value follows; empty for other scopes."""
        each = self.over.each
        return limit_key(self.owner, each) if each else ""

    @property
    def full(self) -> bool:
        """Whether no slot is free."""
        return self.max_running is not None and self.running >= self.max_running

    @property
    def used(self) -> bool:
        """Whether a job holds a slot of it, or waits for one."""
        return bool(self.running or self.waiting)


def scopes_over(spec: JobSpec, labels: Mapping[str, str]) -> list[LimitScope]:
    """Return the scopes of all limits that may apply to a job: its kind, and its value of each label that it names."""
    named = (LimitScope(label=name, value=labels[name]) for name in spec.limited_labels if name in labels)
    return [LimitScope(kind=spec.kind), *named]


def keys_over(spec: JobSpec, labels: Mapping[str, str]) -> list[str]:
    """Return the keys of all limits that may apply to a job, with the limits for each value of its labels."""
    scopes = scopes_over(spec, labels)
    return [
        limit_key(spec.owner, covering) for scope in scopes for covering in (scope, scope.each) if covering is not None
    ]


def counted_limits(job: Job) -> tuple[str, ...]:
    """Return the keys of the limits that count a job, as holding a slot or waiting for one."""
    return (*job.slots, job.parked_for) if job.parked_for else job.slots


def in_force(row: Limit | None, each: Limit | None, owner: str, scope: LimitScope) -> Limit | None:
    """Return the limit in force over a scope, from its row and the one for each value; None without a limit."""
    if row is not None and row.is_set:
        return row
    if each is None or each.max_running is None:
        return None
    return replace(
        row or Limit(owner, scope.text, None, is_set=False),
        max_running=each.max_running,
        reason=each.reason,
        set_by=each.set_by,
        update_time=each.update_time,
        ceiling=each.ceiling,
    )


def admitted(job: Job, limits: Iterable[Limit]) -> Job:
    """Return a job with a slot of each limit, or parked for a limit without a free slot.

    A limit that other jobs wait for has no free slot for a job that is not parked yet: they come first.
    """
    over = list(limits)
    for limit in over:
        if limit.full or (limit.waiting and not job.parked_for):
            return replace(job, parked_for=limit.key, slots=())
    return replace(job, parked_for="", slots=tuple(limit.key for limit in over))


def released(job: Job) -> Job:
    """Return a job that neither holds slots nor waits for one."""
    return replace(job, parked_for="", slots=()) if job.slots or job.parked_for else job
