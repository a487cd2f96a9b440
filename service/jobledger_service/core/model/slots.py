"""Concurrency limits: how many jobs of a scope may be in work at once, and which jobs wait for a slot."""

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from .job import Job
from .limits import DAY

MAX_RUNNING: Final = 1_000_000
LIMIT_REFRESH_INTERVAL: Final = DAY
"""The time for which a limit that jobs bring along counts as recently set."""
LIMIT_RETENTION: Final = 7 * LIMIT_REFRESH_INTERVAL
"""The time without such jobs after which a limit that holds nothing is deleted."""
MAX_COUNTED_PLACE: Final = 10_000
"""The maximum count of jobs ahead of a waiting job."""

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


def scope_of(key: str) -> str:
    """Return the scope of a ledger-wide key."""
    return key.partition("/")[2]


def kind_scope(kind: str) -> str:
    """Return the scope of all jobs of a kind."""
    return f"kind:{kind}"


def label_scope(name: str, value: str) -> str:
    """Return the scope of all jobs with this value of a label."""
    return f"label:{name}={value}"


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

    A limit that other jobs wait for has no free slot: they come first.
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
    """Whether a job sets the limit that it brings along: not an operator's, nor one with recently set equal values."""
    if known is None or known.max_running is None:
        return True
    return known.by_job and (known.max_running != limit.max_running or known.set_time + LIMIT_REFRESH_INTERVAL < now)


def released(job: Job) -> Job:
    """Return an ended job without slots."""
    return replace(job, parked_for="", slots=()) if job.slots or job.parked_for else job
