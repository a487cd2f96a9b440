"""The process itself: its ready line, health, reflection, deadlines, drain, full queue, and wrong settings."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from jobledger.v1.error_reason_pb2 import ErrorReason
from jobledger.v1.job_service_pb2 import ListJobsRequest
from jobledger.v1.worker_service_pb2 import HeartbeatRequest, LeaseReport

from tests.conftest import StartServer
from tests.support.api import Api
from tests.support.bounds import within
from tests.support.errors import Refusal, read
from tests.support.server import Server, run_command
from tests.support.states import RUNNING

SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING
SERVICES = {"jobledger.v1.JobService", "jobledger.v1.WorkerService"}
LONG = timedelta(minutes=5)
Connect = Callable[..., Api]


async def answers_and_refusals(calls: list) -> tuple[list, list[Refusal]]:
    """Return the answers of many calls, and the refusals of the others."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    refusals = [read(answer) for answer in answers if isinstance(answer, grpc.RpcError)]
    return [answer for answer in answers if not isinstance(answer, BaseException)], refusals


async def answers_and_codes(calls: list) -> tuple[list, list[grpc.StatusCode]]:
    """Return the answers of many calls, and the codes of the others, of which some never reached a server."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    codes = [answer.code() for answer in answers if isinstance(answer, grpc.RpcError)]
    answered = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(codes) + len(answered) == len(answers)
    return answered, codes


def test_it_reports_where_it_listens_and_nothing_else_on_stdout(start_server: StartServer):
    server = start_server()
    host, _, port = server.target.rpartition(":")
    assert (host, int(port) > 0) == ("127.0.0.1", True)
    server.terminate()
    assert server.process.stdout.read() == ""
    assert server.wait() == 0


@pytest.mark.parametrize("service", ["", *sorted(SERVICES)])
async def test_every_service_is_serving(api: Api, service: str):
    answer = await HealthStub(api.channel).Check(HealthCheckRequest(service=service))
    assert answer.status == SERVING


async def test_the_health_of_a_service_that_there_is_not_is_not_found(api: Api):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await HealthStub(api.channel).Check(HealthCheckRequest(service="jobledger.v1.NoService"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.long  # servers are drained
async def test_a_draining_server_is_not_serving(start_server: StartServer, connect: Connect):
    server = start_server()
    health = HealthStub(connect(server).channel)
    watches = [health.Watch(HealthCheckRequest(service=service)) for service in ["", *SERVICES]]
    assert {(await watch.read()).status for watch in watches} == {SERVING}
    server.terminate()
    assert {(await watch.read()).status for watch in watches} == {NOT_SERVING}
    for watch in watches:
        watch.cancel()
    assert await asyncio.to_thread(server.wait) == 0


def test_reflection_lists_the_services_and_describes_their_errors(server: Server):
    with grpc.insecure_channel(server.target) as channel:
        reflection = ProtoReflectionDescriptorDatabase(channel)
        expected = SERVICES | {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
        assert set(reflection.get_services()) >= expected
        file = reflection.FindFileContainingSymbol("jobledger.v1.ErrorReason")
        assert [value.name for value in file.enum_type[0].value] == ErrorReason.keys()


async def test_a_deadline_that_has_passed_ends_the_call(api: Api, kind: str):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await within(api.jobs.ListJobs(ListJobsRequest(), timeout=0))
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.long  # servers are drained
async def test_a_drain_finishes_what_it_took_in(start_server: StartServer, connect: Connect, kind: str):
    server = start_server(drain_timeout="600")
    api = connect(server)
    first = await api.create(kind)
    calls = [asyncio.create_task(api.create(kind, item_count=100)) for _ in range(300)]
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    server.terminate()
    created, refusals = await answers_and_codes(calls)
    assert await asyncio.to_thread(server.wait) == 0
    assert set(refusals) <= {grpc.StatusCode.UNAVAILABLE}

    api = connect(server.start())
    answer = await api.list_jobs(filter={"kinds": [kind]}, page_size=500)
    assert {job.job_id for job in answer.jobs} >= {job.job_id for job in created} | {first.job_id}


@pytest.mark.long  # servers are drained
async def test_callers_that_continue_during_a_drain_get_unavailable(
    start_server: StartServer, connect: Connect, kind: str
):
    server = start_server(drain_timeout="600")
    created: list[str] = []
    enough = asyncio.Event()

    async def go_on(api: Api) -> grpc.StatusCode:
        try:
            while True:
                created.append((await api.create(kind)).job_id)
                if len(created) > 50:
                    enough.set()
        except grpc.aio.AioRpcError as error:
            return error.code()

    callers = [asyncio.create_task(go_on(connect(server))) for _ in range(10)]
    await enough.wait()
    server.terminate()
    assert set(await asyncio.gather(*callers)) == {grpc.StatusCode.UNAVAILABLE}
    assert await asyncio.to_thread(server.wait) == 0
    api = connect(server.start())
    found = (await api.batch_get(job_ids=created[-500:])).missing_job_ids
    assert not found


@pytest.mark.long  # servers are drained
async def test_a_drain_does_not_wait_for_those_who_wait_for_work(
    start_server: StartServer, connect: Connect, kind: str
):
    server = start_server(drain_timeout="600")
    api = connect(server)
    waiting = [asyncio.create_task(api.claim(kind, wait=LONG)) for _ in range(5)]
    await api.claim(kind)
    server.terminate()
    claimed, codes = await answers_and_codes(waiting)
    assert all(one == [] for one in claimed)
    assert set(codes) <= {grpc.StatusCode.UNAVAILABLE}
    assert await asyncio.to_thread(server.wait) == 0


@pytest.mark.long  # servers are stopped and started
async def test_what_was_written_is_there_after_a_drain_and_a_start(
    start_server: StartServer, connect: Connect, kind: str
):
    server = start_server()
    api = connect(server)
    job_id = (await api.create(kind, input={"a": 1}, item_count=600)).job_id
    [claimed] = await api.claim(kind)
    await api.report(claimed, items_completed=100, message="halfway")
    before = await api.get(job_id)
    assert server.stop() == 0
    api = connect(server.start())
    assert await api.get(job_id) == before
    assert before.state == RUNNING
    await api.complete(claimed)
    assert (await api.get(job_id)).chunks_summary.completed == 1


async def test_a_full_queue_refuses_reports_when_to_come_back_and_writes_nothing(
    start_server: StartServer, connect: Connect, kind: str
):
    api = connect(start_server(MAX_QUEUED_COMMANDS="1"))
    created, refusals = await answers_and_refusals([api.create(kind) for _ in range(300)])
    assert {(result.code, result.reason) for result in refusals} == {(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")}
    assert all(result.retry_delay > 0 for result in refusals)
    answer = await api.list_jobs(filter={"kinds": [kind]}, page_size=500)
    assert {job.job_id for job in answer.jobs} == {job.job_id for job in created}


async def test_an_operator_may_allow_files_as_artifacts(start_server: StartServer, connect: Connect, kind: str):
    api = connect(start_server(allow_file_artifacts="true"))
    job_id = (await api.create(kind)).job_id
    [claimed] = await api.claim(kind)
    report = LeaseReport(lease_token=claimed.lease.token, progress={"artifacts": {"x": {"uri": "file:///srv/x.mp4"}}})
    await api.work.Heartbeat(HeartbeatRequest(reports=[report]))
    assert (await api.get(job_id)).chunks[0].artifacts["x"].uri == "file:///srv/x.mp4"


def refused_to_start(directory: Path, *flags: str, status: int | None = None, **settings: str) -> str:
    """Return what a server prints that refuses to start, having checked that it is no traceback, and its status."""
    environment = {f"JOBLEDGER_{name.upper()}": value for name, value in settings.items()}
    ended = run_command(directory, "serve", *flags, **environment)
    assert ended.returncode == status if status else ended.returncode not in {0, -9}
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    return ended.stderr


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--listen", "nonsense"), "nonsense"),
        (("--listen", "127.0.0.1:99999"), "99999"),
        (("--database", "mysql://localhost/x"), "mysql"),
        (("--database", "not a url"), "not a url"),
        (("--database", "sqlite:////dev/null/x.db"), "/dev/null"),
        (("--no-such-flag",), "--no-such-flag"),
    ],
)
def test_a_wrong_flag_is_refused_with_a_sentence_that_names_it(tmp_path: Path, flags: tuple[str, ...], named: str):
    assert named in refused_to_start(tmp_path, *flags)


def test_wrong_settings_are_refused_with_sentences_that_name_them(tmp_path: Path):
    wrong = {"queue_wait": "often", "drain_timeout": "-1", "bulk_rate": "0", "log_format": "xml"}
    result = refused_to_start(tmp_path, "--listen", "127.0.0.1:0", **wrong).lower().replace("-", "_")
    assert [name for name in wrong if name not in result] == []
