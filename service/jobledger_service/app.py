"""The assembly of one server process: settings → store → core → features → servers; and the way down again."""

import asyncio
import gc
import logging
import os
import random
import secrets
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from importlib import import_module
from typing import Any, Final

import structlog
import uuid_utils

from .core.api.errors import refused_by_core
from .core.database.clock import clock_of
from .core.database.engines import Pooling, open_database
from .core.database.label_indexes import prepare_labels
from .core.database.maintenance.migrate import prepare
from .core.feature import core
from .core.kernel import Environment, Feature, Kernel
from .core.model.history.writer_level import OUTDATED, outdated
from .core.model.refusals.errors import Refusal
from .core.opening import indexed_labels_of, open_kernel
from .core.write.batch import Commit
from .core.write.row_families import OpenFamily
from .features.metrics.feature import Metrics
from .listeners import listeners_of, rate_limiter_of
from .settings import Settings
from .transport import server
from .transport.call import AccessLog
from .transport.rpc_server import RpcServer

log = structlog.get_logger(__name__)

FEATURES: Final[Sequence[Feature]] = [
    import_module(f"{__package__}.features.{name}.feature").feature
    for name in (
        "access",
        "artifacts",
        "bulk",
        "exports",
        "health",
        "imports",
        "limits",
        "operations",
        "quotas",
        "retention",
        "statistics",
        "usage",
        "webhooks",
        "workers",
    )
]
"""All features but the metrics, which count from before the kernel on."""

DERIVED_TABLES: Final = [table for feature in FEATURES for table in feature.derived_tables]
"""The derived tables of all features."""

CLOSE_SECONDS: Final = 5.0
"""Seconds for the last writes of a server and for closing its database, after the drain of its calls."""

SWITCH_INTERVAL = 0.0005
"""Seconds for which one thread may keep others from going on."""


def _new_id() -> str:
    return str(uuid_utils.uuid7())


def families_of(environment: Environment) -> list[OpenFamily]:
    """Return the row families of all features."""
    return [family for feature in FEATURES for family in feature.families(environment)]


class App:
    """One server process. Built on the event loop; `run` serves until `stop`, then drains."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = asyncio.Event()
        self._status = 0
        self.is_cut_off = False
        """Whether threads still wait for a database that does not answer, though the server has stopped."""
        pooling = Pooling(settings.database_transaction_pooling, settings.database_listen)
        self._database = open_database(settings.database, pooling=pooling)
        prepare(self._database)
        prepare_labels(self._database, indexed_labels_of(settings))
        loop = asyncio.get_running_loop()
        self._database.on_outdated = lambda level: loop.call_soon_threadsafe(self._outdated, level)
        self._metrics = metrics = Metrics(self._database.dialect.kind)
        environment = Environment(settings, self._database, _new_id)
        self._kernel = open_kernel(
            environment,
            families_of(environment),
            on_commit=self._on_commit,
            on_batch=metrics.measured,
            on_merged=metrics.merged.inc,
            on_unreadable=metrics.unreadable,
            clock=clock_of(self._database),
            sample_jitter=random.random,
            random_bytes=secrets.token_bytes,
            rate_limiter=rate_limiter_of(settings),
        )
        features = [metrics.open(self._kernel), *(feature.open(self._kernel) for feature in FEATURES)]
        self._features = [core(self._kernel, features), *features]
        for feature in self._features:
            if feature.count_deliveries is not None:
                self._kernel.vitals.count_deliveries = feature.count_deliveries
        self._rpc_server = self._build_rpc_server(settings, self._kernel)
        self._server = self._build_server(settings)

    def _build_rpc_server(self, settings: Settings, kernel: Kernel) -> RpcServer:
        tracer = None
        if settings.tracing:
            from .transport.tracing import CallTracer  # noqa: PLC0415  an extra

            tracer = CallTracer()
        return RpcServer(
            next((feature.authenticate for feature in self._features if feature.authenticate is not None), None),
            next(feature.max_watches for feature in self._features if feature.max_watches is not None),
            kernel.calls,
            partial(
                refused_by_core,
                cursor=kernel.cursors.encode,
                is_database_away=lambda: kernel.committer.is_stopped or kernel.database.availability.is_away,
            ),
            kernel.feed,
            self._metrics.calls,
            AccessLog(settings.access_log),
            tracer,
            self._metrics.refused,
        )

    def _build_server(self, settings: Settings) -> server.GrpcServer:
        for collector in (collector for feature in self._features for collector in feature.collectors):
            self._metrics.registry.register(collector)
        calls = [of_service for feature in self._features for of_service in feature.calls]
        services = list(dict.fromkeys(method.descriptor for of_service in calls for method in of_service.methods))
        listeners = listeners_of(settings, services)
        return server.build(listeners, self._rpc_server, calls, self._kernel.calls.health)

    def _on_commit(self, commit: Commit) -> None:
        """Notify this process of a commit, before its callers get their answers."""
        for feature in self._features:
            if feature.on_commit is not None:
                feature.on_commit(commit)

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
        """Serve until `stop`; `ready` is called with the address. Return the exit status."""
        settings, kernel = self._settings, self._kernel
        writer = self._start_task("committer", kernel.committer.run())
        tasks = [self._start_task("feed", kernel.feed.run())]
        for feature in self._features:
            tasks += (self._start_task(duty.name, duty.run(self._metrics.duty)) for duty in feature.duties)
        if not self._database.single_writer:
            from .core.database.postgres.listening import listen  # noqa: PLC0415  SQLite does without psycopg

            tasks.append(self._start_task("wake-ups", listen(self._database, kernel.feed.hint, kernel.claims.wake)))
        await self._server.start()
        kernel.calls.health.start()
        address, *admin = (
            f"{listen.rpartition(':')[0]}:{port}"
            for listen, port in zip(
                filter(None, (settings.listen, settings.admin_listen)), self._server.ports, strict=True
            )
        )
        if admin:
            log.info("admin", address=admin[0])
        log.info("listening", address=address, database=self._database.display_url)
        ready(address)
        await self._stopping.wait()
        await self._drain(tasks, writer)
        return self._status

    def _start_task(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task; an error in it ends the process."""
        task = asyncio.create_task(work, name=name)

        def ended(done: asyncio.Task[None]) -> None:
            if not done.cancelled() and (error := done.exception()) is not None:
                log.error("a background task ended unexpectedly: the server stops", task=name, exc_info=error)
                self._status = os.EX_SOFTWARE
                self.stop()

        task.add_done_callback(ended)
        return task

    async def _drain(self, tasks: list[asyncio.Task[None]], writer: asyncio.Task[None]) -> None:
        """Stop without losing anything: watches end with a bookmark, calls finish, what was submitted is committed.

        A database that does not answer gets CLOSE_SECONDS beside the time of the calls; then the process is to be ended
        whatever its threads wait for.
        """
        try:
            async with asyncio.timeout(self._settings.drain_timeout + CLOSE_SECONDS):
                await self._close(tasks, writer)
        except TimeoutError:
            log.error("the database does not answer: the server ends without it, and its last counts are lost")  # noqa: TRY400  a sentence says it all
            self.is_cut_off = True
        log.info("stopped")

    async def _close(self, tasks: list[asyncio.Task[None]], writer: asyncio.Task[None]) -> None:
        kernel = self._kernel
        log.info("draining", watchers=kernel.feed.watchers, queued=kernel.committer.queued)
        kernel.calls.health.drain()
        for feature in self._features:
            if feature.drain is not None:
                feature.drain()
        await self._rpc_server.drain(self._settings.drain_timeout)
        await self._server.stop(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for feature in self._features:
            if feature.close is not None:
                try:
                    await feature.close()
                except Refusal as refusal:
                    log.warning("the last counts of a feature were lost", why=str(refusal))
        kernel.committer.close()
        await asyncio.gather(writer, return_exceptions=True)
        await asyncio.to_thread(kernel.readers.close)
        await asyncio.to_thread(self._database.close)


async def serve(settings: Settings, ready: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    app = App(settings)
    # The collector skips what lives as long as the server, and runs less often: a fifth of the CPU of CreateJob. Every
    # call leaves five objects of gRPC in a cycle; after 100,000 new objects one collection held everybody for 60 to
    # 120 ms, after 20,000 it is a fifth of that.
    # The writer's thread lets the event loop run sooner than after the default of 5 ms, which the loop would wait for
    # several times a call. The writes cost the same: 800 jobs of 100 chunks a second with either.
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.freeze()
    gc.set_threshold(20_000, 50, 5_000)
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, app.stop)
    status = await app.run(ready)
    if app.is_cut_off:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # the threads that wait would hold up the end of the interpreter
    return status
