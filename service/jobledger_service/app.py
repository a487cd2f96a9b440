"""The composition root: settings → store → ledger → feed → server; and the way down again."""

import asyncio
import gc
import ipaddress
import os
import random
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import structlog
import uuid_utils

from . import VERSION
from .access import Access
from .domain.health import Thresholds
from .domain.limits import SECOND
from .domain.retention import Retention
from .domain.roots import NotARootError, Roots, parse_root
from .domain.service_kinds import ARTIFACTS, BULK
from .duties.artifacts import ArtifactDeletions
from .duties.bulk import BulkRuns
from .duties.duty import perform
from .duties.folding import FoldingDuty
from .duties.health import HealthDuty
from .duties.leases import LeaseDuty
from .duties.retention import Kept, RetentionDuty
from .duties.service_jobs import ServiceJobs
from .duties.slots import SlotDuty
from .feed.feed import LiveFeed
from .ledger.attendance import Attendance
from .ledger.backlog import Backlog
from .ledger.batch import Commit, Executor
from .ledger.claims import ClaimQueue
from .ledger.committer import Committer
from .ledger.entry import Entry
from .ledger.export import Exports
from .ledger.health import Checkup
from .ledger.queries import Queries
from .ledger.watch import Watch
from .listeners import admin_port_of, main_port_of
from .metrics.metrics import Metrics
from .removal.objects import NoDriverError, check_driver, remove
from .rpc import bulk_requests, server, worker_requests
from .rpc.bulk_calls import BulkCalls
from .rpc.call import AccessLog
from .rpc.channelz_service import ChannelzService
from .rpc.checks import SCHEMES
from .rpc.codec import ProtoCodec
from .rpc.convert import encoded_struct
from .rpc.health_service import About, SystemHealthService
from .rpc.import_service import ImportService
from .rpc.job_service import JobService
from .rpc.limit_service import LimitService
from .rpc.observe import Unobserved
from .rpc.operations_service import OperationsService
from .rpc.replies import ReplyCache
from .rpc.serving import Serving
from .rpc.traces import Tracer
from .rpc.worker_service import WorkerService
from .settings import Settings, WrongSettingError
from .store.engines import Database, open_database
from .store.exporting import SqlExportStore
from .store.listening import listen
from .store.migrate import check, upgrade
from .store.reading import SqlReadStore
from .store.upkeep import SqlUpkeep
from .store.writing import SqlWriteStore
from .webhook_app import WebhookApp

log = structlog.get_logger(__name__)

LAST_PORT = 65_535
EXPORT_SHARE = 2
"""An export may take the history's length divided by this, and still show each job as it was when it began."""


DEFECT = 70
"""Exit status of a server that stops because something in it failed (EX_SOFTWARE of sysexits.h)."""


def clock() -> int:
    """Return the time in microseconds since 1970."""
    return time.time_ns() // 1_000


def _new_id() -> str:
    return str(uuid_utils.uuid7())


class App:
    """One server process. Built on the event loop; `run` serves until `stop`, then drains."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = asyncio.Event()
        self._status = 0
        self._freed = asyncio.Event()
        self._database = open_database(settings.database)
        prepare(self._database)
        codec, writes = ProtoCodec(), SqlWriteStore(self._database)
        self._reads = SqlReadStore(self._database)
        self._queries = Queries(self._reads)
        self._feed = LiveFeed(
            self._reads, self._queries, codec, self._found_elsewhere, sole_writer=writes.single_writer
        )
        self._replies = ReplyCache() if writes.single_writer else None
        history = round(settings.event_retention * SECOND)
        executor = Executor(
            writes, codec, clock, self._queries.cursor, retention_of(settings), quiet=history // EXPORT_SHARE
        )
        self._metrics = Metrics(VERSION, self._database.dialect.kind, lambda: self._checkup.latest)
        work = self._metrics.work
        self._committer = Committer(executor, self._committed, limit=settings.queue_limit, measured=work.measured)
        work.show(self._committer, self._feed)
        self._claims = ClaimQueue(self._committer)
        self._exports = Exports(SqlExportStore(self._database), self._queries.cursor)
        bulk = BulkCalls(self._committer, self._queries, _new_id, roots_of(settings))
        self._build_service_jobs(bulk)
        self._access = Access(settings, self._database, self._committer, self._queries, clock)
        self._attendance = Attendance(time.monotonic)
        self._checkup = Checkup(
            self._reads,
            self._queries,
            self._committer,
            self._feed,
            self._attendance,
            clock,
            thresholds_of(settings),
            self._access.counts_together,
        )
        self._webhooks = WebhookApp(
            settings, self._database, self._reads, self._queries, self._committer, clock, _new_id, work.webhook
        )
        self._server = self._build_server(
            Watch(self._reads, self._queries, self._feed, codec, settings.bookmark_interval, work.merged), bulk
        )
        self._health = HealthDuty(self._checkup, settings.health_database_lost, self._server.show)
        self._slots = SlotDuty(self._reads, self._queries, self._committer)
        self._leases = LeaseDuty(self._reads, self._queries, self._committer, clock, random.random)
        upkeep = SqlUpkeep(self._database, codec.audited)
        self._retention = RetentionDuty(
            self._reads,
            upkeep,
            self._queries,
            self._committer,
            clock,
            Kept(events=history, audit=round(settings.audit_retention * SECOND)),
            self._feed.forget,
        )
        self._folding = FoldingDuty(self._reads, upkeep, self._queries, self._committer, clock)

    def _build_service_jobs(self, bulk: BulkCalls) -> None:
        reads, queries, committer = self._reads, self._queries, self._committer
        runs = BulkRuns(
            reads, queries, committer, bulk_requests.order, bulk.removal, encoded_struct, self._settings.bulk_rate
        )
        self._deletions = ArtifactDeletions(
            reads, queries, committer, bulk_requests.uris, remove, bulk.roots, encoded_struct, random.random
        )
        works = {BULK: runs.work, ARTIFACTS: self._deletions.work}
        worker = f"jobledger {socket.gethostname()}:{os.getpid()}"
        self._service_jobs = ServiceJobs(reads, queries, committer, works, worker)
        self._open_metrics()

    def _build_backlog(self) -> Backlog | None:
        most = self._settings.queued_jobs_per_owner
        if most is None:
            return None

        async def count(owners: Sequence[str]) -> dict[str, int]:
            return await self._queries.run(self._reads.queued_jobs, owners, most)

        return Backlog(count, most)

    def _build_server(self, watch: Watch, bulk: BulkCalls) -> server.GrpcServer:
        settings, access = self._settings, self._access
        schemes = SCHEMES | {"file"} if settings.allow_file_artifacts else SCHEMES
        given = worker_requests.Given(clock, random.random, schemes)
        backlog = self._build_backlog()
        services = {
            server.JOB_SERVICE: JobService(
                self._committer, self._queries, watch, self._exports, _new_id, clock, bulk, self._replies, backlog
            ),
            server.WORKER_SERVICE: WorkerService(self._committer, self._claims, given, self._attendance),
            server.ADMIN_SERVICE: access.admin,
            server.WEBHOOK_SERVICE: self._webhooks.service,
            server.LIMIT_SERVICE: LimitService(self._committer, self._queries),
            server.IMPORT_SERVICE: ImportService(self._committer, given),
            server.CHANNELZ: ChannelzService(),
            server.OPERATIONS: OperationsService(self._committer, self._queries, watch),
            server.HEALTH_SERVICE: SystemHealthService(
                self._checkup, About(VERSION, self._database.dialect.kind, clock())
            ),
        }
        self._serving = Serving(
            access.calls,
            lambda position: self._queries.cursor(position).encode(),
            self._metrics.calls if settings.metrics_listen else Unobserved(),
            AccessLog(settings.access_log),
            tracer_of(settings),
        )
        return server.build(main_port_of(settings), admin_port_of(settings), self._serving, services)

    def _committed(self, commit: Commit) -> None:
        """Tell everybody in this process of a commit, before its callers get their answers."""
        if self._replies is not None:
            self._replies.forget(commit.touched)
        self._feed.publish(commit.entries)
        self._claims.wake(commit.ready)
        if commit.freed:
            self._freed.set()
        self._service_jobs.wake(commit.ready)
        self._metrics.work.committed(commit)
        self._webhooks.heard()

    def _found_elsewhere(self, entry: Entry) -> None:
        """Wake claims for what another process has made ready."""
        if entry.ready and entry.after is not None:
            self._claims.wake({(entry.after.owner, entry.after.kind): entry.ready})

    def stop(self) -> None:
        """Begin to drain."""
        self._stopping.set()

    async def run(self, ready: Callable[[str], None]) -> int:
        """Serve until `stop`; `ready` hears the address. Return the exit status."""
        settings = self._settings
        writer = self._own("committer", self._committer.run())
        others = [
            self._own("feed", self._feed.run()),
            self._duty("leases", self._leases.once, settings.duty_interval),
            self._duty("slots", self._slots.once, settings.duty_interval, self._freed),
            self._duty("retention", self._retention.once, settings.retention_interval),
            self._duty("folding", self._folding.once, settings.retention_interval),
            self._own("service jobs", self._service_jobs.run(settings.duty_interval)),
            self._duty("health", self._health.once, settings.health_interval),
            *(self._duty(name, once, every) for name, once, every in self._access.duties()),
            *(self._own(name, duty) for name, duty in self._webhooks.duties(self._metrics.work.duty).items()),
        ]
        if not self._database.single_writer:
            others.append(self._own("wake-ups", listen(self._database, self._feed.hint)))
        await self._server.start()
        host = settings.listen.rpartition(":")[0]
        address = f"{host}:{self._server.main.port}"
        if settings.admin_listen and self._server.admin:
            log.info("admin", address=f"{settings.admin_listen.rpartition(':')[0]}:{self._server.admin.port}")
        log.info("listening", address=address, database=self._database.shown)
        ready(address)
        await self._stopping.wait()
        await self._drain(others, writer)
        return self._status

    def _open_metrics(self) -> None:
        if self._settings.metrics_listen:
            host, _, port = self._settings.metrics_listen.rpartition(":")
            try:
                bound = self._metrics.listen(host.strip("[]"), int(port))
            except OSError as error:
                raise server.CannotListenError(f"cannot listen on {host}:{port}: {error.strerror}") from error
            log.info("metrics", address=f"{host}:{bound}")

    def _duty(
        self, name: str, once: Callable[[], Awaitable[bool]], every: float, hint: asyncio.Event | None = None
    ) -> asyncio.Task[None]:
        return self._own(name, perform(name, once, every, hint, self._metrics.work.duty))

    def _own(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task; if it ends with an error, the process has to go."""
        task = asyncio.create_task(work, name=name)

        def ended(done: asyncio.Task[None]) -> None:
            if not done.cancelled() and (error := done.exception()) is not None:
                log.error("a task ends that should not: the server stops", task=name, exc_info=error)
                self._status = DEFECT
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
        await self._serving.drain(self._settings.drain_timeout)
        await self._server.stop(0)
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self._deletions.close()
        await self._access.note_last_usage()
        await self._webhooks.close()
        self._committer.close()
        await asyncio.gather(writer, return_exceptions=True)
        self._queries.close()
        self._exports.shutdown()
        self._database.close()
        self._metrics.close()
        log.info("stopped")


def retention_of(settings: Settings) -> Retention:
    """Return how long ended jobs are kept."""
    kept = (settings.completed_retention, settings.failed_retention, settings.cancelled_retention)
    return Retention(*(None if seconds is None else round(seconds * SECOND) for seconds in kept))


def roots_of(settings: Settings) -> Roots:
    """Return where artifacts may be deleted; raises WrongSettingError for a root that is none, or without a driver."""
    try:
        roots = Roots([parse_root(one) for one in settings.artifact_roots.split()])
        for root in roots.all:
            check_driver(root)
    except (NotARootError, NoDriverError) as error:
        raise WrongSettingError(f"--artifact-roots: {error}") from None
    return roots


def tracer_of(settings: Settings) -> Tracer | None:
    """Return what makes spans of calls, None when that is off."""
    if not settings.tracing:
        return None
    from .tracing import CallTracer  # noqa: PLC0415  an extra

    return CallTracer()


def thresholds_of(settings: Settings) -> Thresholds:
    """Return where the server is no longer healthy."""
    return Thresholds(
        settings.health_database_latency,
        settings.health_commit_stall,
        settings.health_queue_share,
        settings.health_feed_lag,
        settings.health_disk_free,
    )


def prepare(database: Database) -> None:
    """Bring an SQLite file to this version; a PostgreSQL schema, which others use too, has to be of this version."""
    if database.single_writer:
        upgrade(database)
    else:
        check(database)


def check_settings(settings: Settings) -> None:
    """Raise WrongSettingError for settings that do not go together, and for an address that lets strangers in."""
    host, _ = _host_and_port("--listen", settings.listen)
    _check_metrics(settings)
    _check_admin(settings)
    if settings.processes > 1 and settings.database.startswith("sqlite"):
        raise WrongSettingError(
            f"--processes: {settings.processes} processes need PostgreSQL; an SQLite database has one server"
        )
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise WrongSettingError("--tls-cert and --tls-key go together: give both, or neither")
    if settings.tls_client_ca and not settings.tls_cert:
        raise WrongSettingError("--tls-client-ca needs --tls-cert and --tls-key: only TLS knows of certificates")
    roots_of(settings)
    if not settings.insecure and not _is_loopback(host):
        _check_open_to_others(settings, settings.listen)


def _check_open_to_others(settings: Settings, address: str) -> None:
    if settings.auth == "none":
        raise WrongSettingError(
            f"{address} lets other hosts in, and there are no keys: listen on 127.0.0.1, start with --auth keys"
            " and TLS, or say --insecure if your network keeps strangers out"
        )
    if settings.tls_cert is None:
        raise WrongSettingError(
            f"{address} lets other hosts in, and without TLS everybody on the way reads their keys:"
            " give --tls-cert and --tls-key, or say --insecure if TLS ends before this server"
        )


def _host_and_port(flag: str, address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > LAST_PORT:
        raise WrongSettingError(f"{flag}: {address!r} is not HOST:PORT with a port of 0 to {LAST_PORT}")
    return host.strip("[]"), int(port)


def _check_metrics(settings: Settings) -> None:
    if settings.metrics_listen is None:
        return
    host, port = _host_and_port("--metrics-listen", settings.metrics_listen)
    _check_ports_of_all("--metrics-listen", port, settings.processes)
    if not (settings.insecure or settings.metrics_insecure or _is_loopback(host)):
        raise WrongSettingError(
            f"--metrics-listen: {settings.metrics_listen} lets other hosts read the metrics:"
            " listen on 127.0.0.1, or say --metrics-insecure if your network keeps strangers out"
        )


def _check_admin(settings: Settings) -> None:
    if settings.admin_listen is None:
        if settings.reflection == "admin":
            raise WrongSettingError(
                "--reflection: there is no admin listener to move it to: give --admin-listen too, or say off"
            )
        return
    host, port = _host_and_port("--admin-listen", settings.admin_listen)
    _check_ports_of_all("--admin-listen", port, settings.processes)
    if not settings.insecure and not _is_loopback(host):
        _check_open_to_others(settings, settings.admin_listen)


def _check_ports_of_all(flag: str, port: int, processes: int) -> None:
    if port + processes - 1 > LAST_PORT:
        raise WrongSettingError(f"{flag}: {processes} processes take as many ports: {port} is too close to {LAST_PORT}")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def serve(settings: Settings, ready: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    app = App(settings)
    # What lives as long as the server is looked at no more, and the rest less often: a fifth of the CPU of CreateJob.
    gc.freeze()
    gc.set_threshold(100_000, 50, 1_000)
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, app.stop)
    return await app.run(ready)
