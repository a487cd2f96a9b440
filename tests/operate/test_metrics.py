"""/metrics says what happened, in the form that Prometheus reads."""

from collections.abc import Callable

import grpc
import pytest
from jobledger.v1.job_service_pb2 import WatchJobRequest
from jobledger_service.cli.startup_checks import check_settings
from jobledger_service.settings import InvalidSettingError, Settings

from tests.operate.conftest import Start, scrape, scrape_when
from tests.support.api import Api
from tests.support.errors import refused
from tests.support.server import Server
from tests.support.states import COMPLETED

Connect = Callable[[Server], Api]
GET = "jobledger.v1.JobService/GetJob"
WATCH = "jobledger.v1.JobService/WatchJob"
CALLS = "grpc_server_call_duration_seconds_count"
NOT_FOUND = {"grpc_method": GET, "grpc_status": "NOT_FOUND"}


async def test_a_job_is_reported_in_numbers(start_sqlite: Start, connect: Connect, kind: str):
    server = start_sqlite(metrics_listen="127.0.0.1:0")
    api = connect(server)
    before = scrape(server)
    job = await api.create(kind, item_count=3, chunk_size=1)
    first, second, third = await api.claim(kind, 3)
    async with api.watch_job(job.job_id) as watch:
        await watch.message()
        open_streams = scrape_when(server, lambda seen: seen.value("jobledger_watchers") == 1)
        await api.complete(first)
        await api.release(second)
        await api.fail(third, not_retryable=True)
        await watch.change()
    with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
        await api.get("nowhere")
    after = scrape_when(server, lambda seen: seen.value(CALLS, **NOT_FOUND) > before.value(CALLS, **NOT_FOUND))

    def more(name: str, **labels: str) -> float:
        return after.value(name, **labels) - before.value(name, **labels)

    assert open_streams.value("grpc_server_streams_open", grpc_method=WATCH) == 1
    assert open_streams.value("jobledger_watchers") == 1
    assert more("grpc_server_stream_messages_sent_total", grpc_method=WATCH) >= 2
    assert more("grpc_server_call_started_total", grpc_method=GET) == 1
    assert more(CALLS, **NOT_FOUND) == 1
    counted = {name: more("jobledger_changes_total", change=name) for name in ("CREATED", "CLAIMED", "CHUNK_FAILED")}
    assert counted == {"CREATED": 1, "CLAIMED": 3, "CHUNK_FAILED": 1}
    assert more("jobledger_changes_total", change="CHUNK_COMPLETED") == 1
    assert more("jobledger_changes_total", change="CHUNK_RELEASED") == 1
    assert more("jobledger_commit_batch_commands_sum") >= 5
    assert more("jobledger_commit_duration_seconds_count") >= 1
    assert after.value("jobledger_feed_position") == more("jobledger_events_total") + before.value(
        "jobledger_feed_position"
    )
    assert after.value("jobledger_commit_queue_limit") == 10_000
    assert after.value("process_resident_memory_bytes") > 1_000_000
    assert after.value("jobledger_build_info", version="0.1.0") == 1


async def test_a_stream_that_ends_is_timed(server: Server, api: Api, kind: str):
    before = scrape(server)
    job = await api.job_in(COMPLETED, kind)
    async for _ in api.jobs.WatchJob(WatchJobRequest(job_id=job.job_id)):
        pass
    ended = {"grpc_method": WATCH, "grpc_status": "OK"}
    after = scrape_when(server, lambda seen: seen.value(CALLS, **ended) > before.value(CALLS, **ended))
    assert after.value(CALLS, **ended) - before.value(CALLS, **ended) == 1


async def test_an_expired_lease_and_the_duty_that_saw_it_are_counted(start_sqlite: Start, connect: Connect, kind: str):
    server = start_sqlite(metrics_listen="127.0.0.1:0")  # alone: of several, any may see it
    api = connect(server)
    before = scrape(server)
    job = await api.create(kind, retry_policy={"max_attempts": 1})
    await api.claim(kind, lease_duration={"seconds": 1})
    async for _ in api.jobs.WatchJob(WatchJobRequest(job_id=job.job_id)):
        pass  # until the job has failed
    await api.create(kind)  # when it is acknowledged, the commit before it has been counted
    after = scrape(server)
    expired = {"change": "LEASE_EXPIRED"}
    assert after.value("jobledger_changes_total", **expired) > before.value("jobledger_changes_total", **expired)
    assert after.value("jobledger_duty_runs_total", duty="leases") > before.value(
        "jobledger_duty_runs_total", duty="leases"
    )
    assert after.value("jobledger_duty_failures_total", duty="leases") == 0


def test_what_alerts_and_boards_count_from_the_first_is_there_before_it(start_sqlite: Start):
    reported = scrape(start_sqlite(metrics_listen="127.0.0.1:0")).samples
    methods = {its["grpc_method"] for name, its, _ in reported if name == "grpc_server_call_started_total"}
    failed = {its["grpc_method"]: value for name, its, value in reported if its.get("grpc_status") == "INTERNAL"}
    assert GET in methods
    assert failed == dict.fromkeys(methods, 0)
    outcomes = {its["outcome"]: value for name, its, value in reported if name == "jobledger_webhook_attempts_total"}
    assert outcomes == {"delivered": 0, "failed": 0, "dead": 0}


def test_metrics_that_would_let_strangers_in_are_refused():
    with pytest.raises(InvalidSettingError, match="--metrics-insecure"):
        check_settings(Settings(metrics_listen="0.0.0.0:9090"))
    check_settings(Settings(metrics_listen="0.0.0.0:9090", metrics_insecure=True))


def test_ports_for_all_processes_are_there():
    with pytest.raises(InvalidSettingError, match="4 processes take as many ports"):
        check_settings(Settings(database="postgresql://h/n", processes=4, metrics_listen="127.0.0.1:65533"))
