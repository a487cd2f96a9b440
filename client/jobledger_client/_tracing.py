"""The caller's trace goes along with its calls, and a worker's handler runs in the trace of its job.

Both need `jobledger-client[otel]`. Without it, and outside any span, nothing is done.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from jobledger.v1.worker_service_pb2 import ClaimedChunk

from jobledger_client._worker._failures import text_of

try:
    from opentelemetry import trace
    from opentelemetry.trace import SpanKind, Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    INSTALLED = False
else:
    INSTALLED = True
    _PROPAGATOR = TraceContextTextMapPropagator()

Pairs = tuple[tuple[str, str | bytes], ...]


def traced(metadata: Pairs) -> Pairs:
    """Return the metadata of a call with the span that it is made in; as it is, when there is none."""
    if not INSTALLED or not trace.get_current_span().get_span_context().is_valid:
        return metadata
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return (*metadata, *carrier.items())


@contextmanager
def span_of(claimed: ClaimedChunk) -> Iterator[None]:
    """Work on a chunk in a span: a child of the one in which its job was created, a root for a job without."""
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
        record_exception=False,  # it would ask an exception for its text, which may raise another one
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except BaseException as error:
            told = text_of(error)
            span.add_event("exception", {"exception.type": type(error).__qualname__, "exception.message": told})
            span.set_status(Status(StatusCode.ERROR, told))
            raise
