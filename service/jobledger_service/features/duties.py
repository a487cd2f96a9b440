"""The part of the composition root with the time-driven duties: the due scanner and what it wakes."""

import asyncio
import os
import random
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any

from jobledger_service.core.api.convert import encoded_struct
from jobledger_service.core.ledger.batch import Commit
from jobledger_service.core.ledger.claims import ClaimQueue
from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.due_scanner import DueScanner
from jobledger_service.core.ledger.duty import OnRun, perform
from jobledger_service.core.ledger.lease_duty import LeaseDuty
from jobledger_service.core.ledger.ports import Clock
from jobledger_service.core.ledger.queries import Queries
from jobledger_service.core.ledger.read_ports import Due, ReadStore
from jobledger_service.core.ledger.service_jobs import ServiceJobs
from jobledger_service.core.ledger.unreadable_rows import UnreadableRows
from jobledger_service.core.ledger.write_ports import Upkeep
from jobledger_service.core.model.limits import SECOND
from jobledger_service.core.model.service_kinds import ARTIFACTS, BULK
from jobledger_service.core.store.due import SqlDueStore
from jobledger_service.core.store.engines import Database
from jobledger_service.settings import Settings

from .artifacts.duty import ArtifactDeletions
from .artifacts.objects import remove
from .artifacts.removal import ArtifactRemoval
from .artifacts.requests import uris
from .bulk import requests as bulk_requests
from .bulk.duty import BulkRuns
from .limits.duty import SlotDuty
from .retention.duty import RetentionDuty, RetentionPeriods
from .statistics.duty import StatisticsDuty
from .statistics.store import SqlStatisticsStore
from .webhooks.due import WEBHOOKS_DUE

Once = Callable[[], Awaitable[bool]]


class DutyApp:
    """The duties of one process. `on_trimmed` gets the newest position deleted; `other_wakes` are woken too."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        reads: ReadStore,
        upkeep: Upkeep,
        queries: Queries,
        committer: Committer,
        claims: ClaimQueue,
        clock: Clock,
        removal: ArtifactRemoval,
        statistics: SqlStatisticsStore,
        on_trimmed: Callable[[int], None],
        other_wakes: Mapping[Due, Callable[[], None]],
        unreadable: UnreadableRows,
    ) -> None:
        self._settings = settings
        self._wake_events = {Due.LEASES: asyncio.Event(), Due.SLOTS: asyncio.Event()}
        self._deletions = ArtifactDeletions(
            reads, queries, committer, uris, remove, removal.roots, encoded_struct, random.random
        )
        runs = BulkRuns(reads, queries, committer, bulk_requests.order, removal, encoded_struct, settings.bulk_rate)
        handlers = {BULK: runs.work, ARTIFACTS: self._deletions.work}
        worker = f"jobledger {socket.gethostname()}:{os.getpid()}"
        self._service_jobs = ServiceJobs(reads, queries, committer, claims, handlers, worker, clock)
        delay = round(settings.expiry_delay * SECOND)
        self._leases = LeaseDuty(reads, queries, committer, clock, random.random, unreadable, delay)
        self._slots = SlotDuty(reads, queries, committer, unreadable)
        kept = RetentionPeriods(
            events=round(settings.event_retention * SECOND),
            audit=round(settings.audit_retention * SECOND),
        )
        self._retention = RetentionDuty(reads, upkeep, queries, committer, clock, kept, on_trimmed, unreadable)
        self._statistics = StatisticsDuty(
            statistics, queries, committer, clock, round(settings.statistics_retention * SECOND)
        )
        wakes = {due: event.set for due, event in self._wake_events.items()}
        wakes[Due.SERVICE_JOBS] = self._service_jobs.wake
        self._due_scanner = DueScanner(
            SqlDueStore(database, delay, WEBHOOKS_DUE), queries, clock, {**wakes, **other_wakes}
        )

    def on_commit(self, commit: Commit) -> None:
        """React to a commit of this process."""
        if commit.freed:
            self._wake_events[Due.SLOTS].set()
        self._service_jobs.on_commit(commit.ready)

    def duties(self, on_run: OnRun) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """Yield what is to run as long as the server does, by name; `on_run` hears of each time."""
        often, seldom = self._settings.duty_interval, self._settings.retention_interval
        yield "service jobs", self._service_jobs.run(on_run)
        regular: dict[str, tuple[Once, float | None, asyncio.Event | None]] = {
            "due scanner": (self._due_scanner.once, often, None),
            "leases": (self._leases.once, None, self._wake_events[Due.LEASES]),
            "slots": (self._slots.once, None, self._wake_events[Due.SLOTS]),
            "retention": (self._retention.once, seldom, None),
            "statistics": (self._statistics.once, seldom, None),
        }
        for name, (once, every, wake_event) in regular.items():
            yield name, perform(name, once, every, wake_event, on_run)

    def close(self) -> None:
        """End the threads of what was stopped."""
        self._deletions.close()
