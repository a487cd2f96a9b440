"""The health of a server: the measurements of a check, and the findings."""

from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Final

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.history.vitals import Component, StoreVitals
from jobledger_service.core.model.history.writer_level import may_write, outdated

FAILED_WRITE_SECONDS: Final = 60.0
"""Seconds for which a failed write is reported when no other write follows."""
LOSS_SECONDS: Final = 3_600.0
"""Seconds for which lost positions are reported."""
CRITICAL_DISK_DIVISOR: Final = 10
"""A disk with less than one part in this many of the wanted free space is critical."""
MAX_CLOCK_DIFFERENCE_SECONDS: Final = 1.0
"""Seconds by which the ledger's time may differ from the clock that it follows."""


class Status(IntEnum):
    """The health of a server; higher is worse."""

    HEALTHY = 0
    DEGRADED = 1
    UNHEALTHY = 2


class Vitals(MsgStruct, frozen=True):
    """Measurements of a check; seconds, bytes, counts. `store` and `latency` are None when the database was silent."""

    store: StoreVitals | None
    latency: float | None
    queued: int
    queue_limit: int
    current_commit_duration: float | None
    last_batch_size: int
    last_commit_duration: float | None
    last_commit_age: float | None
    feed_position: int
    watchers: int
    workers: int
    failed_age: float | None = None
    """Seconds since the database refused the whole last batch of writes; None when it accepted it."""
    components: Mapping[str, Component] = {}
    """What else the server depends on, by name."""
    delivery_age: float | None = None
    """How many seconds the oldest waiting webhook delivery has waited."""
    clock_ahead: float = 0.0
    """By how many seconds the ledger's time is ahead of the clock that it follows."""
    database_is_stale: bool = False
    """Whether the database was last found to be an older one than this server has seen."""
    lost_positions: int = 0
    """How many positions the database has lost since the server started."""
    lost_age: float | None = None
    """Seconds since the last of these losses was noticed."""

    @property
    def feed_lag(self) -> int:
        """The number of entries by which the ledger was ahead of the feed."""
        return max(0, self.store.position - self.feed_position) if self.store else 0


class Thresholds(MsgStruct, frozen=True):
    """The thresholds of health: seconds, bytes, shares and counts."""

    database_latency: float
    commit_stall: float
    disk_free: int
    webhook_age: float
    queue_share: float = 0.5
    """The share of the write queue that waits: it leaves time to act before the queue is full."""
    feed_lag: int = 5_000
    """The entries by which watchers are behind the ledger: a second or so of a busy ledger."""
    webhook_dead: int = 1_000
    """The webhook deliveries that are dead and kept."""


class Finding(MsgStruct, frozen=True):
    """One problem."""

    status: Status
    reason: str


def findings(vitals: Vitals, limits: Thresholds) -> list[Finding]:
    """Return the values past a threshold, the worst first."""
    problems = (*_of_database(vitals, limits), *_of_committer(vitals, limits), *_of_others(vitals, limits))
    return sorted((Finding(*problem) for problem in problems), key=lambda finding: -finding.status)


def _of_database(vitals: Vitals, limits: Thresholds) -> Iterator[tuple[Status, str]]:
    if vitals.lost_age is not None and vitals.lost_age < LOSS_SECONDS:
        lost = f"the database was exchanged {vitals.lost_age:,.0f} s ago"
        yield Status.DEGRADED, f"{lost}: {vitals.lost_positions:,} acknowledged changes are gone"
    if vitals.database_is_stale:
        yield Status.UNHEALTHY, "the database is older than the one that this server has seen: it is not used"
        return
    if vitals.store is None or vitals.latency is None:
        yield Status.UNHEALTHY, "the database does not answer"
        return
    if vitals.latency > limits.database_latency:
        took = f"a small read of the database took {vitals.latency:.2f} s"
        yield Status.DEGRADED, f"{took}, more than {limits.database_latency:g} s"
    if not may_write(vitals.store.writer_level):
        yield Status.UNHEALTHY, outdated(vitals.store.writer_level)
    free = vitals.store.disk_free
    if free is not None and free < limits.disk_free:
        status = Status.UNHEALTHY if free < limits.disk_free / CRITICAL_DISK_DIVISOR else Status.DEGRADED
        yield status, f"{free:,} bytes are free on the disk, fewer than {limits.disk_free:,}"
    if vitals.store.deliveries.dead > limits.webhook_dead:
        dead = f"{vitals.store.deliveries.dead:,} webhook deliveries are dead"
        yield Status.DEGRADED, f"{dead}, more than {limits.webhook_dead:,}"


def _of_committer(vitals: Vitals, limits: Thresholds) -> Iterator[tuple[Status, str]]:
    running, queued = vitals.current_commit_duration, vitals.queued
    if running is not None and running > limits.commit_stall:
        yield Status.UNHEALTHY, f"a commit has been running for {running:.1f} s, more than {limits.commit_stall:g} s"
    if vitals.failed_age is not None and vitals.failed_age < FAILED_WRITE_SECONDS:
        refused = f"the last ones were refused {vitals.failed_age:.1f} s ago"
        yield Status.UNHEALTHY, f"the database accepts no writes: {refused}"
    if queued >= vitals.queue_limit:
        yield Status.UNHEALTHY, f"the write queue is full: {queued:,} are waiting; further writes are refused"
    elif queued >= limits.queue_share * vitals.queue_limit:
        yield Status.DEGRADED, f"{queued:,} of at most {vitals.queue_limit:,} writes are waiting"


def _of_others(vitals: Vitals, limits: Thresholds) -> Iterator[tuple[Status, str]]:
    lag, age = vitals.feed_lag, vitals.delivery_age
    if lag > limits.feed_lag:
        yield Status.DEGRADED, f"watchers are {lag:,} entries behind the ledger, more than {limits.feed_lag:,}"
    if age is not None and age > limits.webhook_age:
        yield Status.DEGRADED, f"a webhook delivery has waited for {age:,.0f} s, more than {limits.webhook_age:g} s"
    if vitals.clock_ahead > MAX_CLOCK_DIFFERENCE_SECONDS:
        ahead = f"the ledger's time is {vitals.clock_ahead:,.0f} s ahead of the clock that it follows"
        yield Status.DEGRADED, f"{ahead}: leases and time limits last longer, up to twice, until it has caught up"
    if vitals.clock_ahead < -MAX_CLOCK_DIFFERENCE_SECONDS:
        jump = f"the clock jumped {-vitals.clock_ahead:,.0f} s ahead of the ledger's time"
        yield Status.DEGRADED, f"{jump}, which follows when the jump has lasted for a twentieth of that"
    for name, component in vitals.components.items():
        if component.problem:
            yield Status.DEGRADED, f"{name}: {component.problem}"
