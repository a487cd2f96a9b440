"""The caller's trace goes along with its calls, and handlers run in the trace of their job."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

import grpc
import pytest
from jobledger_client import AsyncJobClient, ChunkContext, ExportFormat, JobClient, JobledgerError, NotRetryable
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from tests.client.conftest import Serving
from tests.client.controlled import Played
from tests.support.bounds import BOUND, CALL_TIMEOUT

pytestmark = pytest.mark.one_store("the SDK sees messages, not the store")

WITHOUT = """
import sys
sys.modules["opentelemetry"] = None  # as if it were not installed
from jobledger.v1.worker_service_pb2 import ClaimedChunk
from jobledger_client import _tracing
from jobledger_client._worker import _spans
assert not _spans.INSTALLED
assert _tracing.traced((("a", "b"),)) == (("a", "b"),)
with _spans.span_of(ClaimedChunk(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")):
    pass
"""


@pytest.fixture(scope="session")
def exporter() -> InMemorySpanExporter:
    """Return where the spans of this process go: OpenTelemetry lets a process choose once."""
    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    trace.set_tracer_provider(provider)
    return kept


async def test_a_handler_runs_in_a_span_under_the_one_that_created_its_job(
    client: AsyncJobClient, serving: Serving, kind: str, exporter: InMemorySpanExporter
):
    inside: list[int] = []

    def plain(ctx: ChunkContext) -> None:
        inside.append(trace.get_current_span().get_span_context().trace_id)

    async def failing(ctx: ChunkContext) -> None:
        plain(ctx)
        raise NotRetryable("no", code="NO")

    handlers = {f"{kind}.failing": failing, f"{kind}.plain": plain, f"{kind}.untraced": plain}
    with trace.get_tracer("test").start_as_current_span("caller") as span:
        caller = span.get_span_context()
        jobs = [(await client.create_job(of_handler)).job for of_handler in list(handlers)[:2]]
    jobs.append((await client.create_job(f"{kind}.untraced")).job)
    async with serving(handlers):
        for job in jobs:
            await client.wait(job.job_id, timeout=CALL_TIMEOUT)
    spans = {span.name.removeprefix(f"process {kind}."): span for span in exporter.get_finished_spans()}
    worked, untraced = spans["failing"], spans["untraced"]
    assert sorted(inside) == sorted([caller.trace_id, caller.trace_id, untraced.context.trace_id])
    assert (worked.parent.span_id, spans["plain"].parent.span_id) == (caller.span_id, caller.span_id)
    assert (untraced.parent, untraced.context.trace_id != caller.trace_id) == (None, True)
    assert worked.attributes["jobledger.job_id"] == jobs[0].job_id
    assert worked.attributes["jobledger.attempt"] == 1
    assert worked.status.status_code is StatusCode.ERROR
    assert [event.name for event in worked.events] == ["exception"]


def test_without_opentelemetry_nothing_is_done():
    subprocess.run([sys.executable, "-c", WITHOUT], check=True, timeout=BOUND)


@pytest.mark.parametrize(
    ("method", "work"),
    [
        ("GetJob", lambda client: client.get_job("one")),
        ("WatchJob", lambda client: next(client.watch("one"))),
        ("WatchJobs", lambda client: next(client.watch_jobs())),
        ("ExportJobs", lambda client: next(client.exports.export_jobs(ExportFormat.CSV))),
        ("WatchLeases", lambda client: next(client.leases.watch_leases(worker="w"))),
    ],
)
def test_every_call_and_every_stream_carries_the_callers_trace(
    service: Played, exporter: InMemorySpanExporter, method: str, work: Callable[[JobClient], object]
):
    def in_a_span(client: JobClient) -> str:
        with trace.get_tracer("test").start_as_current_span("caller") as caller:
            with suppress(JobledgerError):
                work(client)
            return f"{caller.get_span_context().trace_id:032x}"

    working = service.start(in_a_span)
    metadata, _, call = service.take(method)
    service.end(call, method, grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING")
    assert dict(metadata)["traceparent"].split("-")[1] == working.result(BOUND)
