"""GetSystemHealth and `jobledger-server health` say how a server fares, in words and by exit status."""

import asyncio
import json
import socket
import threading
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from jobledger.v1.admin_service_pb2 import ListApiKeysRequest
from jobledger.v1.admin_service_pb2_grpc import AdminServiceStub
from jobledger.v1.system_health_pb2 import (
    SYSTEM_STATUS_DEGRADED,
    SYSTEM_STATUS_HEALTHY,
    SYSTEM_STATUS_UNHEALTHY,
    ComponentState,
    GetSystemHealthRequest,
    SystemHealth,
)
from jobledger.v1.system_health_pb2 import ComponentKind as ShownKind
from jobledger_service.core.model.history.vitals import Component, ComponentKind, DeliveryCounts, StoreVitals
from jobledger_service.features.artifacts import probes
from jobledger_service.features.artifacts.probes import PROBE_THREAD, StoreProbes
from jobledger_service.features.artifacts.rules import Roots, parse_root
from jobledger_service.features.health.checker import Health
from jobledger_service.features.health.rules import Status, Thresholds, Vitals, findings

from tests.conftest import QUICK
from tests.operate.conftest import Start, ask_health, health, scrape
from tests.operate.test_admin_listener import admin_target
from tests.operate.test_metrics import Connect
from tests.support.api import Api
from tests.support.databases import new_database
from tests.support.errors import refused
from tests.support.foreign import buf_curl
from tests.support.keys import KeyedApi, first_key
from tests.support.postgres import read_only, shut_off
from tests.support.server import BOUND, Server

LIMITS = Thresholds(
    database_latency=0.5, commit_stall=5, queue_share=0.5, feed_lag=100, disk_free=1_000, webhook_age=60, webhook_dead=9
)
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


STORE = StoreVitals(100, "0001", 1_000, 10_000)


def vitals(store: StoreVitals | None = STORE, **changed: object) -> Vitals:
    """Return the vitals of a healthy server, but for what is given."""
    well: dict[str, object] = {
        "latency": 0.001, "queued": 0, "queue_limit": 100, "current_commit_duration": None, "last_batch_size": 1,
        "last_commit_duration": 0.01, "last_commit_age": 1.0, "feed_position": 100, "watchers": 0, "workers": 0,
    }  # fmt: skip
    return Vitals(store=store, **(well | changed))


@pytest.mark.parametrize(
    ("found", "status", "word"),
    [
        (vitals(), Status.HEALTHY, ""),
        (vitals(None, latency=None), Status.UNHEALTHY, "does not answer"),
        (vitals(latency=0.6), Status.DEGRADED, "0.60 s, more than 0.5 s"),
        (vitals(StoreVitals(100, "0001", 1, 999)), Status.DEGRADED, "999 bytes are free"),
        (vitals(StoreVitals(100, "0001", 1, 99)), Status.UNHEALTHY, "99 bytes are free"),
        (vitals(StoreVitals(100, "0001", 1, None)), Status.HEALTHY, ""),
        (vitals(StoreVitals(201, "0001", 1)), Status.DEGRADED, "101 entries behind"),
        (vitals(queued=50), Status.DEGRADED, "50 of at most"),
        (vitals(queued=100), Status.UNHEALTHY, "write queue is full"),
        (vitals(current_commit_duration=5.1), Status.UNHEALTHY, "running for 5.1 s"),
        (vitals(failed_age=7.0), Status.UNHEALTHY, "accepts no writes"),
        (vitals(failed_age=61.0), Status.HEALTHY, ""),
        (vitals(delivery_age=61.0), Status.DEGRADED, "delivery has waited for 61 s, more than 60 s"),
        (vitals(delivery_age=60.0), Status.HEALTHY, ""),
        (
            vitals(StoreVitals(100, "0001", 1, deliveries=DeliveryCounts(dead=10))),
            Status.DEGRADED,
            "10 webhook deliveries are dead",
        ),
        (vitals(StoreVitals(100, "0001", 1, deliveries=DeliveryCounts(dead=9))), Status.HEALTHY, ""),
        (
            vitals(components={"a store": Component(ComponentKind.ARTIFACT_STORE, 1, "is away")}),
            Status.DEGRADED,
            "a store: is away",
        ),
        (vitals(components={"a store": Component(ComponentKind.ARTIFACT_STORE, 1)}), Status.HEALTHY, ""),
        (vitals(clock_ahead=3_600.0), Status.DEGRADED, "3,600 s ahead of the clock"),
        (vitals(clock_ahead=-3_600.0), Status.DEGRADED, "jumped 3,600 s ahead"),
        (vitals(clock_ahead=-1.0), Status.HEALTHY, ""),
        (vitals(clock_ahead=1.0), Status.HEALTHY, ""),
    ],
)
def test_each_threshold_has_a_verdict_and_a_reason(found: Vitals, status: Status, word: str):
    found_out = findings(found, LIMITS)
    assert Health(0, found, found_out).status is status
    assert [word in finding.reason for finding in found_out] == [True] * bool(word)


def test_the_worst_comes_first():
    reported = findings(vitals(latency=1.0, queued=100), LIMITS)
    assert [finding.status for finding in reported] == [Status.UNHEALTHY, Status.DEGRADED]


async def system_health(api: Api) -> SystemHealth:
    stub = AdminServiceStub(api.channel)
    return (await stub.GetSystemHealth(GetSystemHealthRequest())).health


async def test_a_server_at_work_is_healthy(server: Server, api: Api, kind: str, store: str):
    await api.create(kind)
    await api.claim(kind, worker=f"worker of {kind}")
    reported = await system_health(api)
    assert reported.status == SYSTEM_STATUS_HEALTHY, reported
    assert not reported.reasons
    assert reported.version == "0.1.0"
    assert reported.start_time.ToMicroseconds() < reported.check_time.ToMicroseconds()
    assert reported.database.kind == store
    assert reported.database.reachable
    assert reported.database.latency.ToMicroseconds() > 0
    assert reported.database.schema_version
    assert reported.database.size_bytes > 100_000
    assert reported.database.HasField("disk_free_bytes") == (store == "sqlite")
    assert reported.committer.last_batch_size >= 1
    assert reported.committer.last_commit_duration.ToMicroseconds() > 0
    assert reported.committer.queue_limit == 10_000
    assert reported.feed.position > 0
    assert reported.active_workers >= 1


async def test_replicas_see_each_other(api: Api, replicas: list[Server], store: str):
    reported = await system_health(api)
    assert len({one.name for one in reported.replicas}) == (len(replicas) if store == "postgresql" else 0)
    assert {one.version for one in reported.replicas} <= {"0.1.0"}


async def test_the_command_line_reports_it_to_people_and_programs(server: Server):
    people = await ask_health(server.target)
    programs = await ask_health(server.target, "--output", "json")
    assert people.exit_code == programs.exit_code == 0
    assert people.stdout.startswith("healthy\n")
    assert json.loads(programs.stdout)["status"] == "SYSTEM_STATUS_HEALTHY"


def test_a_server_that_is_not_there_is_69():
    reported = health("127.0.0.1:1", "--timeout", "5")
    assert reported.exit_code == 69
    assert "the server is unreachable" in reported.stderr
    assert "127.0.0.1:1" in reported.stderr


async def test_a_threshold_that_is_passed_is_degraded_and_1(start_sqlite: Start, connect: Connect):
    server = start_sqlite(SLOW_READ_SECONDS="0.0000001")
    reported = await system_health(connect(server))
    assert reported.status == SYSTEM_STATUS_DEGRADED
    assert "a small read of the database took" in reported.reasons[0]
    result = await ask_health(server.target)
    assert result.exit_code == 1
    assert result.stdout.startswith("degraded\n  a small read")


async def test_a_store_of_artifacts_that_is_away_degrades_until_it_is_back(
    start_sqlite: Start, connect: Connect, tmp_path: Path
):
    there, away = tmp_path / "there", tmp_path / "away"
    there.mkdir()
    roots = f"file://{there}/out/ file://{away}/"
    server = start_sqlite(artifact_roots=roots, PROBE_INTERVAL_SECONDS="0.05", metrics_listen="127.0.0.1:0")
    api = connect(server)
    (there / "out").mkdir()
    names = {f"artifact store file://{there}/out", f"artifact store file://{away}"}

    async def problems(expected: int) -> list[str]:
        """Return the problems of the components when so many have one."""
        while True:
            found = await system_health(api)
            problems = [one.problem for one in found.components if one.problem]
            if {one.name for one in found.components} == names and len(problems) == expected:
                assert found.status == (SYSTEM_STATUS_DEGRADED if problems else SYSTEM_STATUS_HEALTHY)
                assert len(found.reasons) == expected
                assert {one.kind for one in found.components} == {ShownKind.COMPONENT_KIND_ARTIFACT_STORE}
                failing = [one.state == ComponentState.COMPONENT_STATE_FAILING for one in found.components]
                assert (sum(failing), {one.HasField("check_time") for one in found.components}) == (expected, {True})
                return problems

    assert await problems(1) == [f"the directory {away} is not there"]
    result = await ask_health(server.target)
    assert result.exit_code == 1
    assert f"the directory {away} is not there" in result.stdout
    assert scrape(server).value("jobledger_component_up", component=f"artifact store file://{away}") == 0
    away.mkdir()
    assert await problems(0) == []
    assert "works" in (await ask_health(server.target)).stdout


@pytest.mark.guarantee("3b.5")
async def test_a_store_that_hangs_is_told_in_time_and_asked_once(monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setattr(probes, "PROBE_SECONDS", 0.01)
        components: dict[str, Component] = {}
        stores = StoreProbes(Roots([parse_root("s3://bucket/out/{owner}/")]), components, lambda: 1)
        assert [component.state for component in components.values()] == ["UNKNOWN"], "it is there before any check"
        for _ in range(3):
            await stores.once()
        assert sum(thread.name == PROBE_THREAD for thread in threading.enumerate()) == 1
        [(name, component)] = components.items()
        assert (name, "has not answered" in component.problem) == ("artifact store s3://bucket", True)


async def test_a_database_that_is_read_and_takes_no_writes_is_unhealthy(tmp_path: Path, connect: Connect, kind: str):
    server = Server(new_database("postgresql", tmp_path), tmp_path, QUICK).start()
    api = connect(server)
    await api.create(kind)
    with read_only(server.database):
        for _ in range(2):  # the first finds that its connection has ended
            with refused(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"):
                await api.create(kind)
        reported = await reachable_health(api)
        assert reported.status == SYSTEM_STATUS_UNHEALTHY
        assert [reason.partition(":")[0] for reason in reported.reasons] == ["the database accepts no writes"]
    await eventually_created(api, kind)
    assert (await reachable_health(api)).status == SYSTEM_STATUS_HEALTHY
    assert server.stop() == 0


async def reachable_health(api: Api) -> SystemHealth:
    """Ask for the health until the connections that have ended were found to have."""
    async with asyncio.timeout(BOUND):
        while not (reported := await system_health(api)).database.reachable:
            pass
    return reported


async def eventually_created(api: Api, kind: str) -> None:
    """Create a job, over as many attempts as there are connections that still remember the outage."""
    async with asyncio.timeout(BOUND):
        while True:
            with suppress(grpc.aio.AioRpcError):
                await api.create(kind)
                return


async def test_a_lost_database_is_unhealthy_and_out_of_service_until_it_is_back(tmp_path: Path, connect: Connect):
    settings = QUICK | {"MEASURE_SECONDS": "0.1", "health_database_lost": "0.3"}
    server = Server(new_database("postgresql", tmp_path), tmp_path, settings).start()
    api = connect(server)
    of_jobs = HealthStub(api.channel).Watch(HealthCheckRequest(service="jobledger.v1.JobService"))
    assert (await of_jobs.read()).status == SERVING
    with shut_off(server.database):
        assert (await of_jobs.read()).status == NOT_SERVING
        reported = await system_health(api)
        assert reported.status == SYSTEM_STATUS_UNHEALTHY
        assert reported.reasons[0] == "the database does not answer"
        assert not reported.database.reachable
        assert not reported.database.HasField("latency")
        # The process is well: starting it again would not bring the database back.
        assert (await HealthStub(api.channel).Check(HealthCheckRequest(service=""))).status == SERVING
    assert (await of_jobs.read()).status == SERVING
    of_jobs.cancel()
    assert server.stop() == 0


async def test_while_the_database_is_away_admins_get_their_health_and_nothing_else(tmp_path: Path):
    database = new_database("postgresql", tmp_path)
    token = first_key(database)
    outage = {"MEASURE_SECONDS": "0.1", "health_database_lost": "0.3"}
    server = Server(database, tmp_path, QUICK | outage | {"auth": "keys", "admin_listen": "127.0.0.1:0"}).start()
    api = KeyedApi(server.target, token)
    of_admins = HealthStub(api.channel).Watch(HealthCheckRequest(service="jobledger.v1.AdminService"))
    assert (await of_admins.read()).status == SERVING
    with shut_off(database):
        assert (await of_admins.read()).status == NOT_SERVING
        with refused(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"):
            await api.admin.ListApiKeys(ListApiKeysRequest())
        for target in (server.target, admin_target(server)):
            await assert_lost_database_is_told(target, token)
    assert (await of_admins.read()).status == SERVING
    await api.channel.close()
    assert server.stop() == 0


async def assert_lost_database_is_told(target: str, token: str) -> None:
    """Hold that a foreign client and the command line hear of it from GetSystemHealth."""
    key = ("--header", f"authorization: Bearer {token}")
    answer = await buf_curl(target, "jobledger.v1.AdminService/GetSystemHealth", *key, data={})
    assert answer.code == 0, answer.err
    reported = answer.messages()[0]["health"]
    assert (reported["status"], reported["reasons"][0]) == ("SYSTEM_STATUS_UNHEALTHY", "the database does not answer")
    result = await ask_health(target, "--api-key", token)
    assert result.exit_code == 1
    assert result.stdout.startswith("unhealthy\n  the database does not answer\n")
