"""The spans of workers: a handler runs in the trace of its job.

That needs `jobledger-client[otel]`. Without it there is no trace.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from jobledger.v1.worker_service_pb2 import ClaimedChunk

from jobledger_client._worker._failures import error_text

try:
    from opentelemetry import trace
    from opentelemetry.trace import SpanKind, Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    INSTALLED = False
else:
    INSTALLED = True
    _PROPAGATOR = TraceContextTextMapPropagator()


@contextmanager
def span_of(claimed: ClaimedChunk) -> Iterator[None]:
    """Work on a chunk in a span: a child of the span that created its job, else a root."""
    if not INSTALLED:
        yield
        return
    parent = {"traceparent": claimed.traceparent} if claimed.traceparent else {}
    with trace.get_tracer("jobledger_client").start_as_current_span(
        f"process {claimed.kind}",
        context=_PROPAGATOR.extract(parent),
        kind=SpanKind.CONSUMER,
        attributes={
            "jobledger.job_id": claimed.job_id,
            "jobledger.kind": claimed.kind,
            "jobledger.chunk_index": claimed.chunk.index,
            "jobledger.attempt": claimed.chunk.attempt,
        },
        record_exception=False,  # it would call str() of the exception, which may raise another one
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except BaseException as error:
            message = error_text(error)
            span.add_event("exception", {"exception.type": type(error).__qualname__, "exception.message": message})
            span.set_status(Status(StatusCode.ERROR, message))
            raise
