"""All metrics of one process, and the address where Prometheus reads them."""

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Info, disable_created_metrics, start_http_server
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from jobledger_service.transport.metrics import CallMetrics

from .work import WorkMetrics

if TYPE_CHECKING:
    from threading import Thread
    from wsgiref.simple_server import WSGIServer

PROCESS: Final = (ProcessCollector, PlatformCollector, GCCollector)


class Metrics:
    """Made once a process: what is counted is counted from the start, whether or not anybody reads it."""

    def __init__(self, version: str, database: str, vitals: Collector) -> None:
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
        self.registry.register(vitals)
        self._http_server: tuple[WSGIServer, Thread] | None = None

    def listen(self, host: str, port: int) -> int:
        """Answer GET /metrics, on a thread of its own; return the port. Raises OSError."""
        self._http_server = start_http_server(port, host, self.registry)
        return self._http_server[0].server_port

    def close(self) -> None:
        """Answer no more."""
        if self._http_server is not None:
            server, thread = self._http_server
            server.shutdown()
            server.server_close()
            thread.join()
