"""What was called is counted by key, method and day, and survives a restart; nobody but an admin sees it."""

import asyncio
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1.admin_service_pb2 import GetUsageRequest, ListApiKeysRequest, Usage
from jobledger.v1.job_service_pb2 import GetJobRequest
from jobledger_client import JobClient, JobView, Role, UsageDimension
from jobledger_client.cli._main import run

from tests.access.conftest import As, Keyed
from tests.conftest import StartServer
from tests.support.api import Api, fresh_kind
from tests.support.bounds import BOUND, CALL_TIMEOUT
from tests.support.databases import new_database
from tests.support.errors import invalid, refused
from tests.support.keys import CALLER, WORKER, KeyedApi
from tests.support.pages import pages_of
from tests.support.server import COMMAND, Server

DAY, KEY = UsageDimension.DAY, UsageDimension.KEY
METHOD, OWNER = UsageDimension.METHOD, UsageDimension.OWNER


async def usage(admin: KeyedApi, **fields: object) -> list[Usage]:
    return list((await admin.admin.GetUsage(GetUsageRequest(**fields))).usage)


async def noted(admin: KeyedApi, key_id: str, calls: int) -> dict[str, Usage]:
    """Wait until so many calls of a key are noted; return their sums by the method's name."""
    while True:
        found = await usage(admin, key_id=key_id, group_by=[METHOD])
        if sum(one.calls for one in found) >= calls:
            return {one.method.rpartition(".")[2]: one for one in found}


def at(day: str) -> Timestamp:
    """Return when a day begins."""
    time = Timestamp()
    time.FromJsonString(f"{day}T00:00:00Z")
    return time


def today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"


async def test_calls_errors_bytes_and_time_are_counted_on_every_replica(
    keyed: Keyed, admin: KeyedApi, as_holder: As, kind: str
):
    owner = fresh_kind()[-40:]
    key = (made := await admin.make(CALLER, WORKER, owner=owner)).api_key
    apis = [as_holder(server, made.token) for server in keyed.replicas]
    before = today()
    job = await apis[0].create(kind, labels={"x": "y" * 200})
    for api in apis * 5:
        await api.get(job.job_id)
    for api in apis:
        with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
            await api.get("no-such-job")
        with refused(grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING"):
            await api.admin.ListApiKeys(ListApiKeysRequest())
    async with apis[0].watch_job(job.job_id) as watch:
        sent = len((await watch.message()).SerializeToString())
        await apis[0].cancel(job.job_id)
        sent += sum(len(message.SerializeToString()) for message in await watch.rest())
    count = len(apis)
    found = await noted(admin, key.key_id, 1 + 7 * count + 2)
    calls = {name: (one.calls, one.errors) for name, one in found.items()}
    assert calls == {
        "CreateJob": (1, 0),
        "GetJob": (6 * count, count),
        "ListApiKeys": (count, count),
        "WatchJob": (1, 0),
        "CancelJob": (1, 0),
    }
    requests = [GetJobRequest(job_id=name, view=JobView.FULL) for name in [*[job.job_id] * 5, "no-such-job"]]
    assert found["GetJob"].bytes_received == sum(request.ByteSize() for request in requests) * count
    assert found["GetJob"].bytes_sent > 5 * count * 200
    assert found["WatchJob"].bytes_sent == pytest.approx(sent, abs=20)  # the same, encoded in another way
    assert all(timedelta(0) < one.duration.ToTimedelta() < timedelta(minutes=10) for one in found.values())
    by_day = await usage(admin, owner=owner, group_by=[DAY, OWNER])
    assert {(one.owner, one.key_id, one.method) for one in by_day} == {(owner, "", "")}
    assert {f"{one.start_time.ToDatetime():%Y-%m-%d}" for one in by_day} <= {before, today()}
    assert sum(one.calls for one in by_day) == sum(one.calls for one in found.values())
    [all_four, *_] = await usage(admin, owner=owner)
    assert all((all_four.HasField("start_time"), all_four.owner, all_four.key_id, all_four.method))
    assert await usage(admin, owner=owner, time_range={"end_time": at("2020-01-01")}) == []
    assert await usage(admin, owner=owner, time_range={"start_time": at("9999-01-01")}) == []


async def test_a_watch_counts_its_bytes_while_it_is_open(keyed: Keyed, admin: KeyedApi, as_holder: As, kind: str):
    made = await admin.make(CALLER)
    api = as_holder(keyed.replicas[0], made.token)
    watch = api.watch_jobs(kind)
    sent = len((await watch.message()).SerializeToString())
    found: list[Usage] = []
    while sum(one.bytes_sent for one in found) < sent:
        found = await usage(admin, key_id=made.api_key.key_id)
    assert [one.calls for one in found] == [0]
    watch.call.cancel()
    assert (await noted(admin, made.api_key.key_id, 1))["WatchJobs"].errors == 0


async def test_when_a_key_was_last_used_is_noted(keyed: Keyed, admin: KeyedApi, as_holder: As, kind: str):
    owner = fresh_kind()[-40:]
    made = await admin.make(CALLER, owner=owner)
    begun = datetime.now(UTC)
    await as_holder(keyed.replicas[-1], made.token).create(kind)
    while True:
        [key] = (await admin.admin.ListApiKeys(ListApiKeysRequest(owner=owner))).api_keys
        if key.HasField("last_used_time"):
            break
    assert begun <= key.last_used_time.ToDatetime(tzinfo=UTC) <= datetime.now(UTC)


async def test_usage_comes_in_pages(keyed: Keyed, admin: KeyedApi, as_holder: As, kind: str):
    owner = fresh_kind()[-40:]
    made = [await admin.make(CALLER, owner=owner) for _ in range(5)]
    for one in made:
        await as_holder(keyed.replicas[0], one.token).create(kind)
        await noted(admin, one.api_key.key_id, 1)
    request = GetUsageRequest(owner=owner, group_by=[KEY], page_size=2)
    pages = [[one.key_id for one in page.usage] async for page in pages_of(admin.admin.GetUsage, request)]
    assert max(map(len, pages)) <= 2
    assert [key_id for page in pages for key_id in page] == sorted(one.api_key.key_id for one in made)
    request.ClearField("group_by")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
        await admin.admin.GetUsage(request)


@pytest.mark.one_store("it is refused before the store is asked")
@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"time_range": {"start_time": {"seconds": 2**40}}}, ["time_range.start_time"]),
        ({"time_range": {"start_time": {"seconds": 1}, "end_time": {"seconds": 1}}}, ["time_range"]),
        ({"group_by": [0, 17]}, ["group_by[0]", "group_by[1]"]),
        ({"key_id": "x", "page_size": 1}, ["key_id"]),
        ({"owner": "/", "page_size": 1}, ["owner"]),
        ({"page_size": -1}, ["page_size"]),
    ],
)
async def test_usage_that_cannot_be_asked_for_is_refused(admin: KeyedApi, fields: dict, named: list[str]):
    with invalid(*named):
        await usage(admin, **fields)


@pytest.mark.long  # servers are stopped and started
async def test_the_first_key_is_printed_alone_and_the_last_usage_is_noted_when_the_server_stops(
    store: str, tmp_path: Path, start_server: StartServer, as_holder: As, kind: str
):
    database = new_database(store, tmp_path)
    command = [COMMAND, "keys", "--database", database, "create", "operator", "--role", "admin"]
    printed = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, timeout=BOUND, check=True
    )
    token = printed.stdout.removesuffix("\n")
    server = start_server(database, auth="keys", RECORD_SECONDS="3600")
    made = await as_holder(server, token).make(CALLER)
    for _ in range(7):
        await as_holder(server, made.token).create(kind)
    assert await asyncio.to_thread(server.stop) == 0
    server.start()
    assert (await noted(as_holder(server, token), made.api_key.key_id, 7))["CreateJob"].calls == 7


async def test_without_keys_all_callers_are_counted_as_one(api: Api, as_holder: As, server: Server, kind: str):
    await api.create(kind)
    open_admin = as_holder(server, "")
    assert {one.key_id for one in await usage(open_admin)} <= {""}


def test_the_command_line_shows_usage(
    keyed: Keyed, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("JOBLEDGER_TARGET", keyed.replicas[0].target)
    monkeypatch.setenv("JOBLEDGER_API_KEY", keyed.token)
    with JobClient(keyed.replicas[0].target, api_key=keyed.token, timeout=CALL_TIMEOUT) as client:
        client.admin.create_api_key("shown", [Role.CALLER])
    shown = ""
    while "AdminService.CreateApiKey" not in shown:
        assert run(["usage", "--by", "owner", "--by", "method", "--owner", "default"]) == 0
        shown = capsys.readouterr().out
    assert shown.split()[:4] == ["DAY", "OWNER", "KEY", "METHOD"]
    assert run(["usage", "--since", "soon"]) == 2
    assert "--since" in capsys.readouterr().err
