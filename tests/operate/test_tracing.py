"""A job keeps the trace of its creation for its workers, and a server that traces is part of it."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from jobledger.v1.job_service_pb2 import CreateJobRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.operate.conftest import Start
from tests.operate.test_metrics import Connect
from tests.support.api import Api
from tests.support.bounds import BOUND

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE, PARENT_SPAN = PARENT.split("-")[1:3]


class Collector(TraceServiceServicer):
    """Takes the spans that servers send."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def Export(self, request: ExportTraceServiceRequest, context: object) -> ExportTraceServiceResponse:  # noqa: N802
        self.spans += [span for one in request.resource_spans for scope in one.scope_spans for span in scope.spans]
        return ExportTraceServiceResponse()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    collecting, server = Collector(), grpc.server(ThreadPoolExecutor(1))
    add_TraceServiceServicer_to_server(collecting, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    yield collecting
    server.stop(0).wait()


async def created_with(api: Api, kind: str, *metadata: tuple[str, str]) -> str:
    """Create a job with these headers and return what its worker is told."""
    await api.jobs.CreateJob(CreateJobRequest(kind=kind), metadata=metadata)
    [claimed] = await api.claim(kind)
    return claimed.traceparent


async def test_the_callers_trace_is_given_to_the_worker(api: Api, kind: str):
    assert await created_with(api, kind, ("traceparent", PARENT)) == PARENT


@pytest.mark.parametrize("header", ["", "nonsense", PARENT.replace("00-", "ff-"), PARENT.replace(TRACE, "0" * 32)])
async def test_a_trace_that_is_invalid_is_left_out(api: Api, kind: str, header: str):
    assert await created_with(api, kind, *([("traceparent", header)] if header else [])) == ""


async def test_equal_requests_of_two_traces_are_equal(api: Api, kind: str):
    request = CreateJobRequest(kind=kind, request_id=kind)
    first = await api.jobs.CreateJob(request, metadata=(("traceparent", PARENT),))
    again = await api.jobs.CreateJob(request)
    assert again.job.job_id == first.job.job_id
    assert not again.created


async def test_a_server_that_traces_is_between_caller_and_worker(
    collector: Collector, start_sqlite: Start, connect: Connect, kind: str
):
    server = start_sqlite(tracing="true")
    api = connect(server)
    reported = await created_with(api, kind, ("traceparent", PARENT))
    with pytest.raises(grpc.aio.AioRpcError):
        await api.get("nowhere")
    assert server.stop() == 0
    spans = {span.name: span for span in collector.spans}
    created = spans["jobledger.v1.JobService/CreateJob"]
    assert created.trace_id.hex() == TRACE
    assert created.parent_span_id.hex() == PARENT_SPAN
    assert reported == f"00-{TRACE}-{created.span_id.hex()}-01"
    assert attributes(created)["rpc.grpc.status_code"] == 0
    missed = spans["jobledger.v1.JobService/GetJob"]
    assert attributes(missed)["rpc.grpc.status_code"] == grpc.StatusCode.NOT_FOUND.value[0]
    assert missed.status.code == 0  # the caller's mistake is no failure of the server
    assert missed.trace_id != created.trace_id


def attributes(span: Span) -> dict[str, object]:
    return {one.key: one.value.int_value if one.value.HasField("int_value") else one.value for one in span.attributes}


WITHOUT = """
import sys
sys.modules["opentelemetry"] = None  # as if it were not installed
sys.argv = ["jobledger-server", "serve", "--tracing", "--listen", "127.0.0.1:0"]
from jobledger_service.cli.main import main
main()
"""


def test_tracing_without_its_extra_is_refused(tmp_path: Path):
    command = [sys.executable, "-c", WITHOUT]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=BOUND, check=False)
    assert ended.returncode == 78
    assert "pip install 'jobledger-service[otel]'" in ended.stderr
