"""A look at this server and its database: what there is to find, and the verdict on it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from jobledger_service.core.ledger.active_workers import Attendance
from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.feed_ports import WatchedFeed
from jobledger_service.core.ledger.ports import Clock
from jobledger_service.core.ledger.queries import Queries
from jobledger_service.core.ledger.read_ports import ReadStore
from jobledger_service.core.model.errors import Refusal
from jobledger_service.core.model.vitals import StoreVitals

from .rules import Finding, Status, Thresholds, Vitals, findings, verdict

PATIENCE: Final = 3.0
"""Seconds after which a database that has not answered counts as silent."""


class Health(Struct, frozen=True):
    """What was found at a time, in microseconds since 1970."""

    time: int
    vitals: Vitals
    findings: Sequence[Finding]

    @property
    def status(self) -> Status:
        """The worst of what was found."""
        return verdict(self.findings)


class Checkup:
    """Looks when it is asked; those who ask at once share one look at the database.

    `rates` says whether the store answers where the servers count calls together.
    """

    def __init__(
        self,
        store: ReadStore,
        queries: Queries,
        committer: Committer,
        feed: WatchedFeed,
        attendance: Attendance,
        clock: Clock,
        limits: Thresholds,
        rates: Callable[[], Awaitable[bool]],
    ) -> None:
        self._store = store
        self._queries = queries
        self._committer = committer
        self._feed = feed
        self._attendance = attendance
        self._clock = clock
        self._limits = limits
        self._rates = rates
        self._asking: asyncio.Task[tuple[StoreVitals, float] | None] | None = None
        self.latest: Health | None = None

    async def look(self) -> Health:
        """Look now; takes PATIENCE at most, and half a second for a store of rates that does not answer."""
        answer, together = await asyncio.gather(self._answer(), self._rates())
        store, latency = answer or (None, None)
        vitals = replace(self._vitals(store, latency), counts_alone=not together)
        self.latest = Health(self._clock(), vitals, findings(vitals, self._limits))
        return self.latest

    async def _answer(self) -> tuple[StoreVitals, float] | None:
        """Ask the database, or wait for the answer to the question that is still open."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="checkup")
        await asyncio.wait({self._asking}, timeout=PATIENCE)
        return self._asking.result() if self._asking.done() else None

    async def _ask(self) -> tuple[StoreVitals, float] | None:
        try:
            return await self._queries.run(self._timed)
        except Refusal:
            return None

    def _timed(self) -> tuple[StoreVitals, float]:
        began = time.perf_counter()
        self._store.position()
        latency = time.perf_counter() - began
        return self._store.vitals(), latency

    def _vitals(self, store: StoreVitals | None, latency: float | None) -> Vitals:
        now, last, since = asyncio.get_running_loop().time(), self._committer.last, self._committer.busy_since
        failed = self._committer.failed
        return Vitals(
            store=store,
            latency=latency,
            queued=self._committer.queued,
            queue_limit=self._committer.limit,
            busy_for=None if since is None else now - since,
            last_batch=last.commands if last else 0,
            last_seconds=last.seconds if last else None,
            last_age=now - last.ended if last else None,
            failed_age=None if failed is None else now - failed,
            feed_position=self._feed.position,
            watchers=self._feed.watchers,
            workers=self._attendance.active(),
        )
