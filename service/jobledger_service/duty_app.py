"""The part of the composition root that looks after what time brings about: the lookout and the duties it wakes."""

import asyncio
import os
import random
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any

from .domain.limits import SECOND
from .domain.service_kinds import ARTIFACTS, BULK
from .duties.artifacts import ArtifactDeletions
from .duties.bulk import BulkRuns
from .duties.duty import Ran, perform
from .duties.folding import FoldingDuty
from .duties.leases import LeaseDuty
from .duties.lookout import Lookout
from .duties.retention import Kept, RetentionDuty
from .duties.service_jobs import ServiceJobs
from .duties.slots import SlotDuty
from .ledger.batch import Commit
from .ledger.claims import ClaimQueue
from .ledger.committer import Committer
from .ledger.ports import Clock
from .ledger.queries import Queries
from .ledger.read_ports import Due, ReadStore
from .ledger.unreadable import UnreadableRows
from .ledger.write_ports import Upkeep
from .removal.objects import remove
from .rpc import bulk_requests
from .rpc.bulk_calls import BulkCalls
from .rpc.convert import encoded_struct
from .settings import Settings
from .store.due import SqlLookout
from .store.engines import Database

Once = Callable[[], Awaitable[bool]]


class DutyApp:
    """The duties of one process. `trimmed` hears of the newest position forgotten; the lookout wakes `others`, too."""

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
        bulk: BulkCalls,
        trimmed: Callable[[int], None],
        others: Mapping[Due, Callable[[], None]],
        unreadable: UnreadableRows,
    ) -> None:
        self._settings = settings
        self._news = {Due.LEASES: asyncio.Event(), Due.SLOTS: asyncio.Event()}
        self._deletions = ArtifactDeletions(
            reads, queries, committer, bulk_requests.uris, remove, bulk.roots, encoded_struct, random.random
        )
        runs = BulkRuns(
            reads, queries, committer, bulk_requests.order, bulk.removal, encoded_struct, settings.bulk_rate
        )
        works = {BULK: runs.work, ARTIFACTS: self._deletions.work}
        worker = f"jobledger {socket.gethostname()}:{os.getpid()}"
        self._service_jobs = ServiceJobs(reads, queries, committer, claims, works, worker, clock)
        delay = round(settings.expiry_delay * SECOND)
        self._leases = LeaseDuty(reads, queries, committer, clock, random.random, unreadable, delay)
        self._slots = SlotDuty(reads, queries, committer, unreadable)
        kept = Kept(
            events=round(settings.event_retention * SECOND),
            audit=round(settings.audit_retention * SECOND),
            statistics=round(settings.statistics_retention * SECOND),
        )
        self._retention = RetentionDuty(reads, upkeep, queries, committer, clock, kept, trimmed, unreadable)
        self._folding = FoldingDuty(reads, upkeep, queries, committer, clock)
        wakes = {due: event.set for due, event in self._news.items()}
        wakes[Due.SERVICE_JOBS] = self._service_jobs.wake
        self._lookout = Lookout(SqlLookout(database, delay), queries, clock, {**wakes, **others})

    def committed(self, commit: Commit) -> None:
        """Hear of a commit of this process."""
        if commit.freed:
            self._news[Due.SLOTS].set()
        self._service_jobs.heard(commit.ready)

    def all(self, ran: Ran) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """Yield what is to run as long as the server does, by name; `ran` hears of each time."""
        often, seldom = self._settings.duty_interval, self._settings.retention_interval
        yield "service jobs", self._service_jobs.run(ran)
        regular: dict[str, tuple[Once, float | None, asyncio.Event | None]] = {
            "lookout": (self._lookout.once, often, None),
            "leases": (self._leases.once, None, self._news[Due.LEASES]),
            "slots": (self._slots.once, None, self._news[Due.SLOTS]),
            "retention": (self._retention.once, seldom, None),
            "folding": (self._folding.once, seldom, None),
        }
        for name, (once, every, hint) in regular.items():
            yield name, perform(name, once, every, hint, ran)

    def close(self) -> None:
        """End the threads of what was stopped."""
        self._deletions.close()
