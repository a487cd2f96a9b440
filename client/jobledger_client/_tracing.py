"""Trace propagation: calls carry the caller's span.

That needs `jobledger-client[otel]`. Without it, and outside any span, there is no trace.
"""

import sys

Pairs = tuple[tuple[str, str | bytes], ...]


def traced(metadata: Pairs) -> Pairs:
    """Return the metadata of a call with the current span, if there is one.

    Where nobody has imported OpenTelemetry nobody has a span, and it need not be imported to find that out.
    """
    if "opentelemetry.trace" not in sys.modules:
        return metadata
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    if not trace.get_current_span().get_span_context().is_valid:
        return metadata
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return (*metadata, *carrier.items())
