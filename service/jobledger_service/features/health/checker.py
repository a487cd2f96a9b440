"""Checks the health of this server and its database, and takes it out of service while its database is lost."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Final

import structlog
from msgspec import Struct as MsgStruct

from jobledger_service.core.kernel import Kernel
from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.core.model.history.vitals import Component, ComponentKind, StoreVitals
from jobledger_service.core.model.history.writer_level import may_write
from jobledger_service.core.model.refusals.errors import Refusal
from jobledger_service.core.opening import indexed_labels_of

from .rules import Finding, Status, Thresholds, Vitals, findings

log = structlog.get_logger(__name__)

PROBE_TIMEOUT_SECONDS: Final = 3.0
"""Seconds after which a database that has not answered counts as silent."""

SLOW_READ_SECONDS: Final = 0.5
"""Seconds after which a small read of the database, which normally takes a millisecond, degrades health."""


class Health(MsgStruct, frozen=True):
    """The findings of a check, and its time in microseconds since 1970."""

    time: int
    vitals: Vitals
    findings: Sequence[Finding]

    @property
    def status(self) -> Status:
        """The worst finding."""
        return max((finding.status for finding in self.findings), default=Status.HEALTHY)


class HealthChecker:
    """Checks on demand, and as a duty; concurrent checks share one probe of the database."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        settings = kernel.settings
        self._thresholds = Thresholds(
            database_latency=SLOW_READ_SECONDS,
            commit_stall=kernel.committer.stall,
            disk_free=settings.health_disk_free,
            webhook_age=settings.health_webhook_age,
        )
        self._declared_labels = indexed_labels_of(settings) or ()
        self._probe_task: asyncio.Task[tuple[StoreVitals, float] | None] | None = None
        self.latest: Health | None = None
        self._lost_since: float | None = None
        self._out_of_service = False

    async def once(self) -> bool:
        """Check, and take the server out of service while its database is lost; return False."""
        store, now, kernel = (await self.check()).vitals.store, asyncio.get_running_loop().time(), self._kernel
        if store is not None and not may_write(store.writer_level):
            kernel.database.on_outdated(store.writer_level)
        if store is not None:
            self._lost_since = None
        elif self._lost_since is None:
            self._lost_since = now
        lost_after = kernel.settings.health_database_lost
        out = self._lost_since is not None and now - self._lost_since >= lost_after
        if out != self._out_of_service:
            self._out_of_service = out
            if out:
                what = "the database is unreachable: health reports NOT_SERVING until it is back"
                log.error(what, seconds=lost_after)
            else:
                log.info("the database is back: health reports SERVING")
            kernel.calls.health.show(not out)
        return False

    async def check(self) -> Health:
        """Check now; takes PROBE_TIMEOUT_SECONDS at most, and half a second for a rate limit store that is silent."""
        answer, rate_store = await asyncio.gather(self._probe_result(), self._check_rate_store())
        store, latency = answer or (None, None)
        vitals = self._vitals(store, latency, rate_store)
        self.latest = Health(self._kernel.clock(), vitals, findings(vitals, self._thresholds))
        return self.latest

    async def _check_rate_store(self) -> Mapping[str, Component]:
        """Return the store where the servers count calls together; nothing where each counts for itself."""
        limiter = self._kernel.calls.rate_limiter
        if limiter is None or not limiter.is_shared:
            return {}
        problem = "" if await limiter.check_store() else "it does not answer: this server counts only its own calls"
        return {"rate limit store": Component(ComponentKind.RATE_LIMIT_STORE, self._kernel.clock(), problem)}

    async def _probe_result(self) -> tuple[StoreVitals, float] | None:
        """Query the database, or wait for the query that is still running."""
        if self._probe_task is None or self._probe_task.done():
            self._probe_task = asyncio.create_task(self._probe(), name="health check")
        await asyncio.wait({self._probe_task}, timeout=PROBE_TIMEOUT_SECONDS)
        return self._probe_task.result() if self._probe_task.done() else None

    async def _probe(self) -> tuple[StoreVitals, float] | None:
        try:
            return await self._kernel.readers.for_server(self._timed)
        except Refusal:
            return None

    def _timed(self) -> tuple[StoreVitals, float]:
        began = time.perf_counter()
        self._kernel.store.position()
        latency = time.perf_counter() - began
        return self._kernel.vitals.read(self._declared_labels), latency

    def _vitals(self, store: StoreVitals | None, latency: float | None, rate_store: Mapping[str, Component]) -> Vitals:
        committer, feed = self._kernel.committer, self._kernel.feed
        now, last, since = asyncio.get_running_loop().time(), committer.last, committer.busy_since
        failed, oldest = committer.failed, None if store is None else store.deliveries.oldest_time
        history = self._kernel.database.history
        return Vitals(
            store=store,
            latency=latency,
            queued=committer.queued,
            queue_limit=committer.limit,
            current_commit_duration=None if since is None else now - since,
            last_batch_size=last.commands if last else 0,
            last_commit_duration=last.seconds if last else None,
            last_commit_age=now - last.ended if last else None,
            failed_age=None if failed is None else now - failed,
            feed_position=feed.position,
            watchers=feed.watchers,
            workers=self._kernel.active_workers.count(),
            components={**rate_store, **self._kernel.components},
            clock_ahead=self._kernel.clock.ahead_seconds(),
            database_is_stale=history.is_stale,
            lost_positions=history.lost_positions,
            lost_age=None if history.lost_at is None else time.monotonic() - history.lost_at,
            delivery_age=None if oldest is None else max(0, self._kernel.clock() - oldest) / SECOND,
        )
