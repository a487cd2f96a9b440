"""The composition root: settings → store → ledger → feed → server; and the way down again."""

import asyncio
import gc
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import structlog
import uuid_utils

from . import VERSION
from .core.api import worker_requests
from .core.api.checks import SCHEMES
from .core.api.codec import ProtoCodec
from .core.api.convert import encoded_struct
from .core.api.errors import refused_by_core
from .core.api.job_service import JobService
from .core.api.reply_cache import ReplyCache
from .core.api.worker_service import WorkerService
from .core.ledger.active_workers import ActiveWorkers
from .core.ledger.backlog import Backlog
from .core.ledger.batch import Commit, Executor
from .core.ledger.claims import ClaimQueue
from .core.ledger.committer import Committer, QueueBounds
from .core.ledger.duty import perform
from .core.ledger.entry import Entry
from .core.ledger.feed.live_feed import LiveFeed
from .core.ledger.lease_watch import LeaseWatch
from .core.ledger.queries import Queries
from .core.ledger.unreadable_rows import UnreadableRows
from .core.ledger.watch import Watch
from .core.model.limits import SECOND
from .core.model.writer_level import OUTDATED, outdated
from .core.store.clock import clock_of
from .core.store.database_clock import DatabaseClock
from .core.store.engines import open_database
from .core.store.migrate import prepare
from .core.store.reading import SqlReadStore
from .core.store.time_limits import TimeLimits
from .core.store.upkeep import SqlUpkeep
from .core.store.writing import SqlWriteStore
from .features.access.feature import Access
from .features.access.listeners import admin_listener_of, main_listener_of
from .features.artifacts.feature import roots_of
from .features.artifacts.removal import ArtifactRemoval
from .features.bulk.api import BulkCalls
from .features.duties import DutyApp
from .features.exports.api import ExportCalls
from .features.exports.export import Exports
from .features.exports.store import SqlExportStore
from .features.health.api import HealthCalls
from .features.health.checker import HealthChecker
from .features.health.duty import HealthDuty
from .features.health.feature import thresholds_of
from .features.health.metrics import VitalsCollector
from .features.health.replies import ServerInfo
from .features.imports.api import ImportService
from .features.limits.api import LimitService
from .features.metrics.feature import Metrics
from .features.operations.api import OperationsService
from .features.retention.feature import retention_of
from .features.statistics.api import StatisticsCalls
from .features.statistics.store import SqlStatisticsStore
from .features.usage.feature import UsageFeature
from .features.webhooks.feature import WebhookApp
from .settings import Settings
from .transport import server
from .transport.call import AccessLog
from .transport.channelz_service import ChannelzService
from .transport.joined import Joined
from .transport.observers import NullObserver
from .transport.rpc_server import RpcServer
from .transport.trace_context import Tracer
from .transport.usage import Usage

log = structlog.get_logger(__name__)

EXPORT_SHARE = 2
"""An export may take the history's length divided by this, and still show each job as it was when it began."""

SWITCH_INTERVAL = 0.0005
"""Seconds for which one thread may keep others from going on."""


CLOCK_RENEW_SECONDS = 5.0
"""Seconds after which the database is asked for the time again; two good clocks part by less than a millisecond."""


def _new_id() -> str:
    return str(uuid_utils.uuid7())


class App:
    """One server process. Built on the event loop; `run` serves until `stop`, then drains."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = asyncio.Event()
        self._status = 0
        self._database = open_database(settings.database, time_limits_of(settings))
        prepare(self._database)
        loop = asyncio.get_running_loop()
        self._database.on_outdated = lambda level: loop.call_soon_threadsafe(self._outdated, level)
        clock = clock_of(self._database)
        self._clock = clock
        self._metrics = Metrics(
            VERSION, self._database.dialect.kind, VitalsCollector(lambda: self._health_checker.latest)
        )
        work = self._metrics.work
        self._unreadable = UnreadableRows(work.unreadable)
        codec, writes = ProtoCodec(self._unreadable), SqlWriteStore(self._database, self._unreadable)
        self._reads = SqlReadStore(self._database, unreadable=self._unreadable)
        self._queries = Queries(self._reads, settings.reads_per_owner)
        self._feed = LiveFeed(
            self._reads, self._queries, codec, self._on_remote_entry, sole_writer=writes.single_writer
        )
        self._replies = ReplyCache() if writes.single_writer else None
        history = round(settings.event_retention * SECOND)
        executor = Executor(
            writes, codec, clock, self._queries.cursor, retention_of(settings), quiet=history // EXPORT_SHARE
        )
        self._committer = Committer(executor, self._on_commit, bounds=bounds_of(settings), on_batch=work.measured)
        self._claims = ClaimQueue(self._committer)
        self._statistics = SqlStatisticsStore(self._database)
        self._exports = Exports(
            SqlExportStore(self._database), self._queries.tokens, self._queries.cursor, self._unreadable
        )
        removal = ArtifactRemoval(roots_of(settings), _new_id, encoded_struct)
        self._open_metrics()
        counted = Usage()
        self._access = Access(settings, self._database, self._committer, self._queries, clock, counted)
        self._usage = UsageFeature(
            settings,
            self._database,
            self._committer,
            self._queries,
            clock,
            counted,
            self._access.take_used,
            self._access.note_used,
        )
        work.show(self._committer, self._feed, self._access.in_flight)
        self._active_workers = ActiveWorkers(time.monotonic)
        self._health_checker = HealthChecker(
            self._reads,
            self._queries,
            self._committer,
            self._feed,
            self._active_workers,
            clock,
            thresholds_of(settings),
            self._access.rate_store_is_up,
        )
        self._webhooks = WebhookApp(
            settings,
            self._database,
            self._reads,
            self._queries,
            self._committer,
            clock,
            _new_id,
            work.webhook,
            self._unreadable,
        )
        self._server = self._build_server(
            Watch(self._reads, self._queries, self._feed, codec, settings.bookmark_interval, work.merged), removal
        )
        self._health = HealthDuty(
            self._health_checker, settings.health_database_lost, self._server.show, self._outdated
        )
        self._duties = DutyApp(
            settings,
            self._database,
            self._reads,
            SqlUpkeep(self._database, codec.audited),
            self._queries,
            self._committer,
            self._claims,
            clock,
            removal,
            self._statistics,
            self._feed.forget,
            self._webhooks.wakes,
            self._unreadable,
        )

    def _build_backlog(self) -> Backlog | None:
        limit = self._settings.queued_jobs_per_owner
        if limit is None:
            return None

        async def count(owners: Sequence[str]) -> dict[str, int]:
            return await self._queries.run(self._reads.queued_jobs, owners, limit)

        return Backlog(count, limit)

    def _build_server(self, watch: Watch, removal: ArtifactRemoval) -> server.GrpcServer:
        settings, access = self._settings, self._access
        schemes = SCHEMES | {"file"} if settings.allow_file_artifacts else SCHEMES
        clock = self._clock
        request_context = worker_requests.RequestContext(clock, random.random, sorted(schemes), self._reads.epoch)
        backlog = self._build_backlog()
        services = {
            server.JOB_SERVICE: Joined(
                JobService(
                    self._committer,
                    self._queries,
                    watch,
                    _new_id,
                    removal,
                    self._unreadable,
                    self._replies,
                    backlog,
                ),
                StatisticsCalls(self._statistics, self._queries, clock),
                ExportCalls(self._exports),
                BulkCalls(self._committer, self._queries, _new_id),
            ),
            server.WORKER_SERVICE: WorkerService(
                self._committer,
                self._claims,
                request_context,
                self._active_workers,
                self._unreadable,
                LeaseWatch(self._feed, settings.bookmark_interval),
            ),
            server.ADMIN_SERVICE: Joined(
                access.key_calls(),
                self._usage.calls,
                HealthCalls(self._health_checker, ServerInfo(VERSION, self._database.dialect.kind, clock())),
            ),
            server.WEBHOOK_SERVICE: self._webhooks.service,
            server.LIMIT_SERVICE: LimitService(self._committer, self._queries),
            server.IMPORT_SERVICE: ImportService(self._committer, request_context),
            server.CHANNELZ: ChannelzService(),
            server.OPERATIONS: OperationsService(self._committer, self._queries, watch, self._unreadable),
        }
        self._rpc_server = RpcServer(
            access.calls,
            partial(
                refused_by_core,
                cursor=lambda position: self._queries.cursor(position).encode(),
                is_database_away=lambda: self._committer.is_stopped or self._database.availability.is_away,
            ),
            self._metrics.calls if settings.metrics_listen else NullObserver(),
            AccessLog(settings.access_log),
            tracer_of(settings),
            refused=self._metrics.work.refused,
        )
        return server.build(main_listener_of(settings), admin_listener_of(settings), self._rpc_server, services)

    def _on_commit(self, commit: Commit) -> None:
        """Notify this process of a commit, before its callers get their answers."""
        if self._replies is not None:
            self._replies.forget(commit.touched)
        self._feed.publish(commit.entries)
        self._claims.wake(commit.ready)
        self._duties.on_commit(commit)
        self._metrics.work.committed(commit)
        self._webhooks.on_commit()

    def _on_remote_entry(self, entry: Entry) -> None:
        """Wake claims for what another process has made ready."""
        if entry.ready and entry.after is not None:
            self._claims.wake({(entry.after.owner, entry.after.kind): entry.ready})

    def stop(self) -> None:
        """Begin to drain."""
        self._stopping.set()

    def _outdated(self, level: int) -> None:
        """Drain, as only servers of this writer level or above may write to the database."""
        if not self._stopping.is_set():
            log.warning(outdated(level))
            self._status = OUTDATED
            self.stop()

    async def run(self, ready: Callable[[str], None]) -> int:
        """Serve until `stop`; `ready` hears the address. Return the exit status."""
        settings = self._settings
        writer = self._start_task("committer", self._committer.run())
        others = [
            self._start_task("feed", self._feed.run()),
            self._duty("health", self._health.once, settings.health_interval),
            self._duty("usage", self._usage.once, settings.usage_interval),
            *(self._duty(name, once, every) for name, once, every in self._access.duties()),
            *(self._start_task(name, duty) for name, duty in self._webhooks.duties(self._metrics.work.duty).items()),
            *(self._start_task(name, duty) for name, duty in self._duties.duties(self._metrics.work.duty)),
        ]
        if not self._database.single_writer:
            from .core.store.listening import listen  # noqa: PLC0415  SQLite does without psycopg

            others.append(self._start_task("wake-ups", listen(self._database, self._feed.hint, self._claims.wake)))
        if isinstance(self._clock, DatabaseClock):
            others.append(self._duty("clock", partial(self._renew, self._clock), CLOCK_RENEW_SECONDS))
        await self._server.start()
        host = settings.listen.rpartition(":")[0]
        address = f"{host}:{self._server.main.port}"
        if settings.admin_listen and self._server.admin:
            log.info("admin", address=f"{settings.admin_listen.rpartition(':')[0]}:{self._server.admin.port}")
        log.info("listening", address=address, database=self._database.display_url)
        ready(address)
        await self._stopping.wait()
        await self._drain(others, writer)
        return self._status

    async def _renew(self, clock: DatabaseClock) -> bool:
        await self._queries.run(clock.renew)
        return False

    def _open_metrics(self) -> None:
        if self._settings.metrics_listen:
            host, _, port = self._settings.metrics_listen.rpartition(":")
            try:
                bound = self._metrics.listen(host.strip("[]"), int(port))
            except OSError as error:
                raise server.CannotListenError(f"cannot listen on {host}:{port}: {error.strerror}") from error
            log.info("metrics", address=f"{host}:{bound}")

    def _duty(self, name: str, once: Callable[[], Awaitable[bool]], every: float) -> asyncio.Task[None]:
        return self._start_task(name, perform(name, once, every, on_run=self._metrics.work.duty))

    def _start_task(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task; if it ends with an error, the process has to go."""
        task = asyncio.create_task(work, name=name)

        def ended(done: asyncio.Task[None]) -> None:
            if not done.cancelled() and (error := done.exception()) is not None:
                log.error("a background task ended unexpectedly: the server stops", task=name, exc_info=error)
                self._status = os.EX_SOFTWARE
                self.stop()

        task.add_done_callback(ended)
        return task

    async def _drain(self, others: list[asyncio.Task[None]], writer: asyncio.Task[None]) -> None:
        """Stop without losing anything: watches end with a bookmark, calls finish, what was submitted is committed."""
        log.info("draining", watchers=self._feed.watchers, queued=self._committer.queued)
        await self._server.drain()
        self._feed.close()
        self._claims.close()
        self._exports.close()
        await self._rpc_server.drain(self._settings.drain_timeout)
        await self._server.stop(0)
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self._duties.close()
        await self._usage.note_last()
        await self._webhooks.close()
        await self._claims.settle()
        self._committer.close()
        await asyncio.gather(writer, return_exceptions=True)
        self._queries.close()
        self._exports.shutdown()
        self._database.close()
        self._metrics.close()
        log.info("stopped")


def time_limits_of(settings: Settings) -> TimeLimits:
    """Return how long the database may take."""
    return TimeLimits(
        connect=settings.database_connect_timeout,
        statement=settings.database_statement_timeout,
        lock=settings.database_lock_timeout,
        idle=settings.database_idle_timeout,
        read=settings.database_read_timeout,
        export=settings.database_export_timeout,
    )


def bounds_of(settings: Settings) -> QueueBounds:
    """Return how much may wait for the writer."""
    return QueueBounds(settings.queue_limit, settings.queue_wait, settings.health_commit_stall)


def tracer_of(settings: Settings) -> Tracer | None:
    """Return what makes spans of calls, None when that is off."""
    if not settings.tracing:
        return None
    from .transport.tracing import CallTracer  # noqa: PLC0415  an extra

    return CallTracer()


async def serve(settings: Settings, ready: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    app = App(settings)
    # What lives as long as the server is looked at no more, and the rest less often: a fifth of the CPU of CreateJob.
    # The writer's thread lets the event loop go on sooner than after the default of 5 ms, which the loop would wait for
    # several times a call. The writes cost the same: 800 jobs of 100 chunks a second with either.
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.freeze()
    gc.set_threshold(100_000, 50, 1_000)
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, app.stop)
    return await app.run(ready)
