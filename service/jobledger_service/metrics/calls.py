"""The metrics of calls, named as gRPC names its own (gRFC A66), in the form of Prometheus."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class CallMetrics:
    """Counts and times calls. Children are bound once a method and code: a call costs three of their updates."""

    def __init__(self, registry: CollectorRegistry) -> None:
        method = ("grpc_method",)
        self.started = Counter(
            "grpc_server_call_started", "Calls that came in; the method with its service.", method, registry=registry
        )
        self.duration = Histogram(
            "grpc_server_call_duration_seconds",
            "From the request to the status, by status code. Streams last as long as they are open.",
            (*method, "grpc_status"),
            buckets=SECONDS,
            registry=registry,
        )
        self.open = Gauge("grpc_server_streams_open", "Streams that are open.", method, registry=registry)
        self.messages = Counter(
            "grpc_server_stream_messages_sent",
            "Messages sent on streams, bookmarks included.",
            method,
            registry=registry,
        )

    def method(self, name: str, *, streams: bool) -> "MethodMetrics":
        """Return what counts the calls of a method."""
        return StreamMetrics(self, name) if streams else MethodMetrics(self, name)


class MethodMetrics:
    """Counts the calls of one method."""

    __slots__ = ("_calls", "_durations", "_name", "_started")

    def __init__(self, calls: CallMetrics, name: str) -> None:
        self._calls = calls
        self._name = name
        self._started = calls.started.labels(name)
        self._durations = {"OK": calls.duration.labels(name, "OK")}

    def began(self) -> None:
        """Count a call that came in."""
        self._started.inc()

    def sent(self) -> None:
        """Count nothing: a method that answers once sends no messages."""

    def ended(self, code: str, seconds: float) -> None:
        """Time a call that ended."""
        duration = self._durations.get(code)
        if duration is None:
            duration = self._durations[code] = self._calls.duration.labels(self._name, code)
        duration.observe(seconds)


class StreamMetrics(MethodMetrics):
    """Counts the streams of one method."""

    __slots__ = ("_messages", "_open")

    def __init__(self, calls: CallMetrics, name: str) -> None:
        super().__init__(calls, name)
        self._open = calls.open.labels(name)
        self._messages = calls.messages.labels(name)

    def began(self) -> None:
        """Count a stream that was opened."""
        super().began()
        self._open.inc()

    def sent(self) -> None:
        """Count a message."""
        self._messages.inc()

    def ended(self, code: str, seconds: float) -> None:
        """Time a stream that ended."""
        super().ended(code, seconds)
        self._open.dec()
