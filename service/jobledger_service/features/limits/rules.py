"""Which jobs get a slot of each concurrency limit over them, and which wait for one."""

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from jobledger_service.core.model.job import Job
from jobledger_service.core.model.slots import LIMIT_REFRESH_INTERVAL, kind_scope, label_scope

LAST_SCOPE: Final = "m"
"""Comes after every scope: they begin with "kind:" or "label:"."""


class Limit(MsgStruct, frozen=True):
    """At most `max_running` jobs of a scope hold a slot, None for any number; `waiting` ones are parked for it."""

    owner: str
    scope: str
    max_running: int | None
    running: int = 0
    waiting: int = 0
    by_job: bool = False
    set_time: int = 0

    @property
    def key(self) -> str:
        """The ledger-wide name."""
        return limit_key(self.owner, self.scope)

    @property
    def full(self) -> bool:
        """Whether there is no slot."""
        return self.max_running is not None and self.running >= self.max_running


def limit_key(owner: str, scope: str) -> str:
    """Return the ledger-wide name of a limit."""
    return f"{owner}/{scope}"


def limit_keys(owner: str, kind: str, labels: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of all limits that there may be over a job."""
    scopes = [kind_scope(kind), *(label_scope(name, value) for name, value in labels.items())]
    return tuple(limit_key(owner, scope) for scope in scopes)


def limits_over(job: Job) -> tuple[str, ...]:
    """Return the names of all limits that there may be over a job."""
    return limit_keys(job.spec.owner, job.spec.kind, job.labels)


def counted_limits(job: Job) -> tuple[str, ...]:
    """Return the names of the limits that count a job, as one that holds a slot or waits for one."""
    return (*job.slots, job.parked_for) if job.parked_for else job.slots


def admitted(job: Job, limits: Iterable[Limit]) -> Job:
    """Return a job that is about to wait for workers with a slot of each limit, or parked for one that has none free.

    A limit for which others wait has none free: they come first.
    """
    over = list(limits)
    for limit in over:
        if limit.full or (limit.max_running is not None and limit.waiting):
            return replace(job, parked_for=limit.key, slots=())
    return replace(job, parked_for="", slots=tuple(limit.key for limit in over))


def granted(job: Job, limits: Iterable[Limit]) -> Job:
    """Return a parked job with a slot of each limit, or parked for one that is full."""
    over = list(limits)
    for limit in over:
        if limit.full:
            return replace(job, parked_for=limit.key)
    return replace(job, parked_for="", slots=tuple(limit.key for limit in over))


def needs_update(limit: Limit, known: Limit | None, now: int) -> bool:
    """Whether a limit that a job brings along is to be set: an operator's is not, nor one that was just set so."""
    if known is None or known.max_running is None:
        return True
    return known.by_job and (known.max_running != limit.max_running or known.set_time + LIMIT_REFRESH_INTERVAL < now)


def released(job: Job) -> Job:
    """Return an ended job without slots."""
    return replace(job, parked_for="", slots=()) if job.slots or job.parked_for else job
