"""All metrics of one process, and the address where Prometheus reads them."""

from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Info, disable_created_metrics, start_http_server
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.core.ledger.batch import Commit
from jobledger_service.core.ledger.duty import Duty
from jobledger_service.core.store.kind_figures import KindFigures, KindFiguresReader
from jobledger_service.transport.metrics import CallMetrics
from jobledger_service.transport.server import CannotListenError

from .work import KindMetrics, WorkMetrics

log = structlog.get_logger(__name__)

PROCESS: Final = (ProcessCollector, PlatformCollector, GCCollector)


class Metrics:
    """Made once a process, before the kernel: what is counted is counted from the start, whether or not it is read."""

    def __init__(self, version: str, database: str) -> None:
        # Without a second series for each, which says when it began.
        disable_created_metrics()  # type: ignore[no-untyped-call] # it has no annotations
        self.registry = CollectorRegistry()
        for collector in PROCESS:
            collector(registry=self.registry)
        Info("jobledger_build", "What runs here.", registry=self.registry).info(
            {"version": version, "database": database}
        )
        self.calls = CallMetrics()
        self.registry.register(self.calls)
        self.work = WorkMetrics(self.registry)

    def feature(self, kernel: Kernel) -> Feature:
        """Return what metrics add to a server; raises CannotListenError."""
        self.work.show(kernel.committer, kernel.feed, kernel.calls.in_flight)
        settings, listen = kernel.settings, kernel.settings.metrics_listen
        if not listen:
            return Feature(on_commit=self.work.committed)
        reader = KindFiguresReader(kernel.database.dialect)
        kinds = KindMetrics(kernel.clock)

        def read() -> dict[str, KindFigures]:
            with kernel.database.read() as connection:
                return reader.read(connection, settings.metrics_kinds)

        async def show_kinds() -> bool:
            kinds.show(await kernel.readers.for_server(read))
            return False

        def on_commit(commit: Commit) -> None:
            self.work.committed(commit)
            kinds.committed(commit.changes)

        return Feature(
            duties=[Duty("kind metrics", show_kinds, settings.health_interval)],
            on_commit=on_commit,
            collectors=[kinds],
            close=self._listen(*listen.rsplit(":", 1)),
        )

    def _listen(self, host: str, port: str) -> Callable[[], Awaitable[None]]:
        """Answer GET /metrics, on a thread of its own; return what ends that."""
        try:
            server, thread = start_http_server(int(port), host.strip("[]"), self.registry)
        except OSError as error:
            raise CannotListenError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        log.info("metrics", address=f"{host}:{server.server_port}")

        async def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return close
