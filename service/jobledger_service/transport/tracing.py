"""Spans of calls with OpenTelemetry; imported only when tracing is on, as it is an extra."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Final

from grpc import StatusCode as Code
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from jobledger_service import VERSION

from .trace_context import TRACEPARENT, traceparent_of

_FAILURES: Final = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
"""The codes that OpenTelemetry's conventions count as failures of a server."""
_PROPAGATOR: Final = TraceContextTextMapPropagator()


def export() -> None:
    """Send the spans of this process by OTLP to where OTEL_EXPORTER_OTLP_ENDPOINT says."""
    provider = TracerProvider(resource=Resource.create({"service.name": "jobledger", "service.version": VERSION}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


class OpenSpan:
    """The span of a call that runs; it is current until it ends."""

    def __init__(self, opened: AbstractContextManager[trace.Span]) -> None:
        self._opened = opened
        self._span = opened.__enter__()

    @property
    def traceparent(self) -> str:
        """How others name this call as their parent."""
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier)
        return carrier.get(TRACEPARENT, "")

    def end(self, code: str) -> None:
        """End the span with the name of the status code of the call."""
        self._span.set_attribute("rpc.grpc.status_code", Code[code].value[0])
        if code in _FAILURES:
            self._span.set_status(Status(StatusCode.ERROR, code))
        self._opened.__exit__(None, None, None)


class CallTracer:
    """Makes a span of each call, by the process's provider."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("jobledger", VERSION)

    def begin(self, service: str, method: str, metadata: Iterable[tuple[str, Any]]) -> OpenSpan:
        """Return a span, in the caller's trace if it names one."""
        parent = traceparent_of(metadata)
        span = self._tracer.start_as_current_span(
            f"{service}/{method}",
            context=_PROPAGATOR.extract({TRACEPARENT: parent} if parent else {}),
            kind=SpanKind.SERVER,
            attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": method},
        )
        return OpenSpan(span)
