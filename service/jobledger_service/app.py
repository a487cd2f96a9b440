"""The composition root: settings → store → ledger → feed → server; and the way down again."""

import asyncio
import gc
import ipaddress
import random
import signal
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
import uuid_utils

from .domain.limits import SECOND
from .domain.retention import Retention
from .duties.duty import perform
from .duties.leases import LeaseDuty
from .duties.retention import RetentionDuty
from .feed.feed import LiveFeed
from .ledger.batch import Commit, Executor
from .ledger.claims import ClaimQueue
from .ledger.committer import Committer
from .ledger.entry import Entry
from .ledger.queries import Queries
from .ledger.watch import Watch
from .rpc import server, worker_requests
from .rpc.checks import SCHEMES
from .rpc.codec import ProtoCodec
from .rpc.identity import ANYBODY
from .rpc.job_service import JobService
from .rpc.replies import ReplyCache
from .rpc.serving import Serving
from .rpc.worker_service import WorkerService
from .settings import Settings
from .store.engines import Database, open_database
from .store.listening import listen
from .store.migrate import check, upgrade
from .store.reading import SqlReadStore
from .store.writing import SqlWriteStore
from .webhook_app import WebhookApp

log = structlog.get_logger(__name__)

LAST_PORT = 65_535


DEFECT = 70
"""Exit status of a server that stops because something in it failed (EX_SOFTWARE of sysexits.h)."""


class WrongSettingError(ValueError):
    """A setting that does not go with the others, or would be unsafe."""


def _clock() -> int:
    return time.time_ns() // 1_000


def _new_id() -> str:
    return str(uuid_utils.uuid7())


class App:
    """One server process. Built on the event loop; `run` serves until `stop`, then drains."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = asyncio.Event()
        self._status = 0
        self._database = open_database(settings.database)
        prepare(self._database)
        codec, writes = ProtoCodec(), SqlWriteStore(self._database)
        self._reads = SqlReadStore(self._database)
        self._queries = Queries(self._reads)
        self._feed = LiveFeed(
            self._reads, self._queries, codec, self._found_elsewhere, sole_writer=writes.single_writer
        )
        self._replies = ReplyCache() if writes.single_writer else None
        executor = Executor(writes, codec, _clock, self._queries.cursor, retention_of(settings))
        self._committer = Committer(executor, self._committed, limit=settings.queue_limit)
        self._claims = ClaimQueue(self._committer)
        self._webhooks = WebhookApp(
            settings, self._database, self._reads, self._queries, self._committer, _clock, _new_id
        )
        self._server = self._build_server(
            Watch(self._reads, self._queries, self._feed, codec, settings.bookmark_interval)
        )
        self._leases = LeaseDuty(self._reads, self._queries, self._committer, _clock, random.random)
        self._retention = RetentionDuty(
            self._reads,
            writes,
            self._queries,
            self._committer,
            _clock,
            round(settings.event_retention * SECOND),
            self._feed.forget,
        )

    def _build_server(self, watch: Watch) -> server.GrpcServer:
        schemes = SCHEMES | {"file"} if self._settings.allow_file_artifacts else SCHEMES
        jobs = JobService(self._committer, self._queries, watch, _new_id, self._replies)
        workers = WorkerService(self._committer, self._claims, worker_requests.Given(_clock, random.random, schemes))
        self._serving = Serving(lambda _: ANYBODY, lambda position: self._queries.cursor(position).encode())
        services = server.Services(jobs, workers, self._webhooks.service)
        return server.build(self._settings.listen, self._serving, services, share_port=self._settings.shared_port)

    def _committed(self, commit: Commit) -> None:
        """Tell everybody in this process of a commit, before its callers get their answers."""
        if self._replies is not None:
            self._replies.forget(commit.touched)
        self._feed.publish(commit.entries)
        self._claims.wake(commit.ready)
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
            self._own("leases", perform("leases", self._leases.once, settings.duty_interval)),
            self._own("retention", perform("retention", self._retention.once, settings.retention_interval)),
            *(self._own(name, duty) for name, duty in self._webhooks.duties().items()),
        ]
        if not self._database.single_writer:
            others.append(self._own("wake-ups", listen(self._database, self._feed.hint)))
        await self._server.start()
        host = settings.listen.rpartition(":")[0]
        log.info("listening", address=f"{host}:{self._server.port}", database=self._database.shown)
        ready(f"{host}:{self._server.port}")
        await self._stopping.wait()
        await self._drain(others, writer)
        return self._status

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
        await self._serving.drain(self._settings.drain_timeout)
        await self._server.stop(0)
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._webhooks.close()
        self._committer.close()
        await asyncio.gather(writer, return_exceptions=True)
        self._queries.close()
        self._database.close()
        log.info("stopped")


def retention_of(settings: Settings) -> Retention:
    """Return how long ended jobs are kept."""
    kept = (settings.completed_retention, settings.failed_retention, settings.cancelled_retention)
    return Retention(*(None if seconds is None else round(seconds * SECOND) for seconds in kept))


def prepare(database: Database) -> None:
    """Bring an SQLite file to this version; a PostgreSQL schema, which others use too, has to be of this version."""
    if database.single_writer:
        upgrade(database)
    else:
        check(database)


def check_settings(settings: Settings) -> None:
    """Raise WrongSettingError for settings that do not go together, and for an address that lets strangers in."""
    host, _, port = settings.listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > LAST_PORT:
        raise WrongSettingError(f"--listen: {settings.listen!r} is not HOST:PORT with a port of 0 to {LAST_PORT}")
    if settings.processes > 1 and settings.database.startswith("sqlite"):
        raise WrongSettingError(
            f"--processes: {settings.processes} processes need PostgreSQL; an SQLite database has one server"
        )
    if not settings.insecure and not _is_loopback(host.strip("[]")):
        raise WrongSettingError(
            f"{settings.listen} lets other hosts in, and there are no keys:"
            " listen on 127.0.0.1, or say --insecure if your network keeps strangers out"
        )


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
