"""Which jobs get a slot of each concurrency limit over them, and which wait for one."""

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from jobledger_service.core.model.job import Job
from jobledger_service.core.model.slots import LIMIT_REFRESH_INTERVAL, kind_scope, label_scope

LAST_SCOPE: Final = "m"
"""A string that sorts after every scope: scopes begin with "kind:" or "label:"."""


class Limit(MsgStruct, frozen=True):
    """A limit: at most `max_running` jobs of a scope hold a slot, None for any number; `waiting` ones are parked."""

    owner: str
    scope: str
    max_running: int | None
    running: int = 0
    waiting: int = 0
    by_job: bool = False
    set_time: int = 0

    @property
    def key(self) -> str:
        """The ledger-wide key."""
        return limit_key(self.owner, self.scope)

    @property
    def full(self) -> bool:
        """Whether no slot is free."""
        return self.max_running is not None and self.running >= self.max_running


def limit_key(owner: str, scope: str) -> str:
    """Return the ledger-wide key of a limit."""
    return f"{owner}/{scope}"


def limit_keys(owner: str, kind: str, labels: Mapping[str, str]) -> tuple[str, ...]:
    """Return the keys of all limits that may apply to a job."""
    scopes = [kind_scope(kind), *(label_scope(name, value) for name, value in labels.items())]
    return tuple(limit_key(owner, scope) for scope in scopes)


def limits_over(job: Job) -> tuple[str, ...]:
    """Return the keys of all limits that may apply to a job."""
    return limit_keys(job.spec.owner, job.spec.kind, job.labels)


def counted_limits(job: Job) -> tuple[str, ...]:
    """Return the keys of the limits that count a job, as holding a slot or waiting for one."""
    return (*job.slots, job.parked_for) if job.parked_for else job.slots


def admitted(job: Job, limits: Iterable[Limit]) -> Job:
    """Return a job with a slot of each limit, or parked for a limit without a free slot.

    A limit that other jobs wait for has no free slot for a job that is not parked yet: they come first.
    """
    over = list(limits)
    for limit in over:
        if limit.full or (limit.max_running is not None and limit.waiting and not job.parked_for):
            return replace(job, parked_for=limit.key, slots=())
    return replace(job, parked_for="", slots=tuple(limit.key for limit in over))


def needs_update(limit: Limit, known: Limit | None, now: int) -> bool:
    """Whether a job sets the limit that it brings along: not an operator's, nor one with recently set equal values."""
    if known is None or known.max_running is None:
        return True
    return known.by_job and (known.max_running != limit.max_running or known.set_time + LIMIT_REFRESH_INTERVAL < now)


def released(job: Job) -> Job:
    """Return a job without slots, which waits for none."""
    return replace(job, parked_for="", slots=()) if job.slots or job.parked_for else job
