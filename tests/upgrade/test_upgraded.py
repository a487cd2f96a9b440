"""What a released version stored is there after an upgrade: as it was answered then, with the cursors of then."""

from contextlib import closing
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message
from jobledger.v1.admin_service_pb2 import GetUsageRequest, ListApiKeysRequest
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import WatchMode
from jobledger.v1.webhook_service_pb2 import ListWebhooksRequest
from jobledger.v1.webhook_service_pb2_grpc import WebhookServiceStub
from jobledger.v1.worker_service_pb2 import ChunkCompletion, CompleteChunksRequest
from jobledger_service.cli import main as cli
from jobledger_service.core.database.engines import open_database
from jobledger_service.core.database.maintenance.migrate import upgrade
from jobledger_service.core.database.maintenance.recount import Recounted
from jobledger_service.core.database.writer_level import read_writer_level
from jobledger_service.core.model.history.writer_level import WRITER_LEVEL
from sqlalchemy import inspect, text
from typer.testing import CliRunner

from tests.conftest import StartServer
from tests.support.databases import new_database
from tests.support.errors import refused
from tests.support.keys import KeyedApi
from tests.support.recount import recount
from tests.support.schemas import schema
from tests.support.states import CANCELLED, COMPLETED, FAILED, LEASE_LOST, OK
from tests.upgrade.conftest import STILL, ConnectAs
from tests.upgrade.filling import LAST, OWNERS, STATES, Owned, Record

pytestmark = pytest.mark.long  # servers are started

ENDED = {COMPLETED, FAILED, CANCELLED}
EVERY = WatchMode.WATCH_MODE_EVERY
MAY_BE_EMPTY = {"artifact_removals", "audit", "deleted_outputs", "deleted_versions", "running_totals"}
"""Tables that are filled while jobs are being deleted, when history is trimmed, and when an hour is over."""


def timeless(job: Job) -> Job:
    """Return a job without what depends on the time, and without its etag and zeros, which later versions show."""
    kept = Job()
    kept.CopyFrom(job)
    kept.ClearField("holds")
    kept.ClearField("etag")
    for chunk in kept.chunks:
        chunk.ClearField("holds")
        chunk.ClearField("next_attempt_time")
    _clear_zeros(kept)
    return kept


def _clear_zeros(message: Message) -> None:
    for field, value in message.ListFields():
        if field.message_type is None:
            if not field.is_repeated and not value:
                message.ClearField(field.name)
        elif field.message_type.GetOptions().map_entry:
            continue
        else:
            for inner in value if field.is_repeated else (value,):
                _clear_zeros(inner)


async def rest(api: KeyedApi, cursor: bytes) -> list[tuple[int, str, int]]:
    """Return the events of an owner from a cursor on, up to the last one that the released version recorded."""
    async with api.watch_jobs(cursor=cursor, mode=EVERY, filter=None) as watch:
        messages = await watch.through(lambda message: message.job.display_name == LAST)
    return [(message.event.position, message.job.job_id, message.job.revision) for message in messages]


async def check_jobs(api: KeyedApi, owned: Owned) -> None:
    """Hold that each job is as it was answered, or has moved on: a lease that nobody extended is over by now."""
    for job_id, answered in owned.jobs.items():
        before, shown = Job.FromString(answered), await api.get(job_id)
        assert shown.revision == before.revision or (shown.revision > before.revision and before.state not in ENDED)
        if shown.revision == before.revision:
            assert timeless(shown) == timeless(before)
        events = (await api.list_events(job_id, page_size=500)).events
        assert [event.revision for event in events] == list(range(1, len(events) + 1))
        assert len(events) >= shown.revision


async def check_lists(api: KeyedApi, owned: Owned) -> None:
    """Hold that lists have all jobs, those of one value of an indexed label too, and those of a word."""
    jobs = [Job.FromString(answered) for answered in owned.jobs.values()]
    for fields, matching in (
        ({}, jobs),
        ({"labels": {"user": "u1"}}, [job for job in jobs if job.labels.get("user") == "u1"]),
        ({"search": "whole"}, [job for job in jobs if job.kind == "clip.whole"]),
    ):
        listed = await api.list_jobs(page_size=1_000, filter=fields)
        assert {job.job_id for job in listed.jobs} == {job.job_id for job in matching}
        assert listed.total_size == len(matching)
    assert len(jobs) > len([job for job in jobs if job.labels]) > 0


def test_a_fixture_has_something_of_everything(loaded: str, recorded: Record):
    with closing(open_database(loaded)) as database, database.change_schema() as connection:
        tables = {name for name in inspect(connection).get_table_names() if not name.startswith("job_search")}
        empty = {name for name in tables if not connection.exec_driver_sql(f"SELECT 1 FROM {name}").first()}  # noqa: S608
    assert tables > empty
    assert empty <= MAY_BE_EMPTY
    for owner in OWNERS:
        assert {Job.FromString(job).state for job in recorded.owners[owner].jobs.values()} == set(STATES.values())


@pytest.mark.guarantee("3d.12")
async def test_jobs_and_events_are_as_they_were_answered(
    upgraded: str, recorded: Record, start_server: StartServer, connect_as: ConnectAs
):
    server = start_server(upgraded, **STILL)
    for owned in recorded.owners.values():
        api = connect_as(server, owned.token)
        await check_jobs(api, owned)
        await check_lists(api, owned)
    assert server.stop() == 0
    assert server.defects() == []


@pytest.mark.guarantee("3d.12")
async def test_cursors_are_good_and_lists_begin_again(
    upgraded: str, recorded: Record, start_server: StartServer, connect_as: ConnectAs
):
    server = start_server(upgraded, **STILL)
    for owned in recorded.owners.values():
        api = connect_as(server, owned.token)
        seen = [(event.position, event.job_id, event.revision) for event in owned.seen]
        for number in range(0, len(seen) - 1, 5):
            assert await rest(api, owned.seen[number].cursor) == seen[number + 1 :]
        async with api.watch_jobs(cursor=owned.list_cursor, mode=EVERY, filter=None) as watch:
            await api.create("clip.new", display_name="new")
            message = await watch.until(lambda message: message.job.display_name == "new")
            assert message.event.revision == 1
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
            await api.list_jobs(page_size=1, page_token=owned.page_token)


@pytest.mark.guarantee("3d.12")
async def test_old_leases_are_lost_and_all_work_goes_on(
    upgraded: str, recorded: Record, start_server: StartServer, connect_as: ConnectAs
):
    server = start_server(upgraded, **STILL | {"DUE_SCAN_SECONDS": "0.1"})
    for owned in recorded.owners.values():
        api = connect_as(server, owned.token)
        for token in owned.lease_tokens:
            assert await _completed(api, token) == LEASE_LOST
        for kind in ("clip.running", "clip.queued", "clip.retried"):
            unfinished = [job for job in map(Job.FromString, owned.jobs.values()) if job.kind == kind]
            assert unfinished
            for job in unfinished:
                await _work_through(api, job)


async def _completed(api: KeyedApi, token: str) -> int:
    completion = ChunkCompletion(lease_token=token)
    return (await api.work.CompleteChunks(CompleteChunksRequest(completions=[completion]))).results[0].status


async def _work_through(api: KeyedApi, job: Job) -> None:
    """Claim and complete until a job has ended."""
    while (await api.get(job.job_id)).state not in ENDED:
        claimed = await api.claim(job.kind, 100, wait=timedelta(seconds=1))  # a chunk may wait after its lost lease
        if claimed:
            assert {result.status for result in await api.complete(*claimed)} == {OK}
    assert (await api.get(job.job_id)).state == COMPLETED


@pytest.mark.guarantee("3d.12")
async def test_keys_usage_and_webhooks_are_there(
    upgraded: str, recorded: Record, start_server: StartServer, connect_as: ConnectAs
):
    server = start_server(upgraded, **STILL)
    admin = connect_as(server, recorded.admin_token)
    keys = (await admin.admin.ListApiKeys(ListApiKeysRequest(page_size=100))).api_keys
    assert {key.owner for key in keys} >= set(OWNERS)
    with refused(grpc.StatusCode.UNAUTHENTICATED, "API_KEY_REVOKED"):
        await connect_as(server, recorded.revoked_token).create("clip.queued")
    for owner, owned in recorded.owners.items():
        usage = (await admin.admin.GetUsage(GetUsageRequest(owner=owner, page_size=100))).usage
        assert sum(day.calls for day in usage) > 50
        api = connect_as(server, owned.token)
        listed = await WebhookServiceStub(api.channel).ListWebhooks(ListWebhooksRequest())
        assert {webhook.webhook_id for webhook in listed.webhooks} == set(owned.webhook_ids)


@pytest.mark.guarantee("3d.12")
def test_the_schema_is_that_of_a_new_database(upgraded: str, store: str, tmp_path: Path):
    with (
        closing(open_database(upgraded)) as old,
        closing(open_database(new_database(store, tmp_path))) as new,
        old.read() as of_old,
        new.read() as of_new,
    ):
        assert schema(of_old) == schema(of_new)
        assert read_writer_level(of_old) == WRITER_LEVEL


@pytest.mark.guarantee("3d.12")
def test_a_recount_finds_nothing_wrong(upgraded: str):
    with closing(open_database(upgraded)) as database:
        counted = recount(database)
    assert counted == Recounted(label_indexes=counted.label_indexes)


@pytest.mark.guarantee("3d.12")
@pytest.mark.parametrize("content", ["no JSON", '{"still": "no artifact"}'])
def test_artifacts_are_counted_but_those_that_cannot_be_read(loaded: str, content: str):
    with closing(open_database(loaded)) as database:
        with database.change_schema() as connection:
            first = connection.exec_driver_sql(
                "SELECT min(job_key) FROM jobs WHERE artifacts_revision IS NOT NULL"
            ).scalar_one()
            damage = text("UPDATE artifact_versions SET content = :content WHERE job_key = :job_key")
            connection.execute(damage, {"content": content, "job_key": first})
        upgrade(database)
        with database.read() as connection:
            sizes = connection.execute(text("SELECT job_key, artifact_bytes FROM jobs"))
            stored = {row.job_key: row.artifact_bytes for row in sizes}
        counted = recount(database)
    assert stored[first] == 0
    assert {first.partition("/")[0], *(key.partition("/")[0] for key, size in stored.items() if size)} == {*OWNERS}
    assert (counted.rows.total(), counted.unreadable) == (0, 1)


@pytest.mark.guarantee("3d.12")
async def test_a_back_up_of_the_version_is_restored(
    loaded: str, recorded: Record, start_server: StartServer, connect_as: ConnectAs, store: str, tmp_path: Path
):
    database = _restored(loaded, tmp_path)
    server = start_server(database, **STILL)
    for owned in recorded.owners.values():
        api = connect_as(server, owned.token)
        await check_jobs(api, owned)
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "FOREIGN_CURSOR", "cursor"):
            await rest(api, owned.list_cursor)
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
            await api.list_jobs(page_size=1, page_token=owned.page_token)


def _restored(backup: str, directory: Path) -> str:
    """Return the database that the commands of this version make of a back-up of a released one."""
    if backup.startswith("sqlite"):
        database = f"sqlite:///{directory / 'restored.db'}"
        _run("restore", backup.removeprefix("sqlite:///"), "--database", database)
        return database
    with closing(open_database(backup)) as opened:
        upgrade(opened)
    _run("new-epoch", "--database", backup)
    return backup


def _run(*words: str) -> None:
    printed = CliRunner().invoke(cli.cli, list(words))
    assert printed.exit_code == 0, printed.output
