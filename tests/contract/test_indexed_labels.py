"""Lists by an indexed label are the lists that every job, filtered and sorted, makes: whatever happens to the jobs."""

from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from jobledger.v1.admin_service_pb2_grpc import AdminServiceStub
from jobledger.v1.bulk_pb2 import CancelJobsRequest
from jobledger.v1.filter_pb2 import JobFilter, LabelCondition, LabelOperator
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import (
    BatchCreateJobsRequest,
    CreateJobRequest,
    JobOrder,
    ListJobsRequest,
    WatchMessageType,
)
from jobledger.v1.system_health_pb2 import GetSystemHealthRequest
from jobledger_service.core.database.engines import open_database
from jobledger_service.core.database.label_indexes import LabelIndexStore

from tests.bulk.runs import ended
from tests.conftest import StartServer
from tests.store.test_label_indexes import written
from tests.support.api import Api, fresh_kind
from tests.support.databases import new_database
from tests.support.errors import invalid
from tests.support.keys import CALLER, KeyedApi, first_key
from tests.support.pages import pages_of
from tests.support.recount import recount
from tests.support.server import Server, run_command
from tests.support.states import CANCELLED, COMPLETED, FAILED, QUEUED, RUNNING

pytestmark = pytest.mark.slow

Connect = Callable[[Server], Api]
CONFIGURATION = 78
LAST = 2**63
IN = LabelOperator.Value("LABEL_OPERATOR_IN")
VALUES: dict[str, Callable[[Job], int]] = {
    "CREATE_TIME": lambda job: job.create_time.ToNanoseconds(),
    "UPDATE_TIME": lambda job: job.update_time.ToNanoseconds(),
    "PRIORITY": lambda job: job.priority,
    "END_TIME": lambda job: job.end_time.ToNanoseconds() if job.HasField("end_time") else LAST,
}
ORDERS = {name: (VALUES[name[10:].rpartition("_")[0]], name.endswith("_ASC")) for name in JobOrder.keys()[1:]}
"""What each order sorts by, and whether ascending."""


async def ready(api: Api, *names: str) -> None:
    """Assert that these labels are indexed, and no others."""
    assert await shown(api) == dict.fromkeys(names, True)


async def shown(api: Api) -> dict[str, bool]:
    """Return what health shows of the indexes."""
    health = (await AdminServiceStub(api.channel).GetSystemHealth(GetSystemHealthRequest())).health
    return {index.name: index.ready for index in health.database.label_indexes}


def migrate(database: str, directory: Path, labels: str) -> None:
    """Index labels as an operator does."""
    ended = run_command(directory, "migrate", "--database", database, "--indexed-labels", labels)
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (0, "labels are indexed"), ended.stderr


def begin_indexes(database: str, labels: list[str]) -> None:
    """Leave indexes of labels as a `migrate` leaves them that is killed after four jobs."""
    with closing(open_database(database)) as opened:
        indexes = LabelIndexStore(opened)
        indexes.choose(labels)
        assert indexes.step(4)


async def pages(api: Api, page_size: int = 500, **fields: Any) -> list[Job]:
    """Return the jobs of a list, page by page."""
    request = ListJobsRequest(page_size=page_size, **fields)
    return [job async for page in pages_of(api.jobs.ListJobs, request) for job in page.jobs]


async def check(api: Api, users: Iterable[str]) -> None:
    """Assert that lists by the label "user" are those of all jobs, filtered and sorted here."""
    everything = await pages(api)
    some = [*users]
    filters: list[tuple[dict[str, Any], Callable[[Job], bool]]] = [
        *(({"labels": {"user": one}}, lambda job, one=one: job.labels.get("user") == one) for one in some),
        (
            {"label_conditions": [LabelCondition(name="user", operator=IN, values=some)]},
            lambda job: "user" in job.labels and job.labels["user"] in some,
        ),
        (
            {"labels": {"user": some[0]}, "states": [COMPLETED, QUEUED]},
            lambda job: job.labels.get("user") == some[0] and job.state in (COMPLETED, QUEUED),
        ),
        (
            {"labels": {"user": some[0], "env": "test"}, "min_priority": 5},
            lambda job: job.labels.get("user") == some[0] and job.labels.get("env") == "test" and job.priority >= 5,
        ),
    ]
    for order, (value, ascending) in ORDERS.items():
        ordered = sorted(
            everything,
            key=lambda job: (value(job), job.create_time.ToNanoseconds(), job.job_id),
            reverse=not ascending,
        )
        for wanted, matches in filters:
            listed = await pages(api, 7, filter=JobFilter(**wanted), order=order)
            assert [job.job_id for job in listed] == [job.job_id for job in ordered if matches(job)], (order, wanted)
    first = await api.list_jobs(filter=JobFilter(labels={"user": some[0]}), page_size=1)
    assert first.total_size == sum(job.labels.get("user") == some[0] for job in everything)
    assert not first.total_is_lower_bound


async def watched(api: Api, user: str) -> set[str]:
    """Return the jobs of the snapshot of a watch of a user's jobs."""
    job_ids: set[str] = set()
    async with api.watch_jobs(filter=JobFilter(labels={"user": user})) as stream:
        while (message := await stream.message()).type != WatchMessageType.WATCH_MESSAGE_TYPE_BOOKMARK:
            job_ids.add(message.job.job_id)
    return job_ids


async def live(api: Api, users: list[str]) -> list[Job]:
    """Make jobs in all states with users, and change some in every way that moves them in a list."""
    made = []
    for number, state in enumerate((COMPLETED, FAILED, CANCELLED, RUNNING, QUEUED, QUEUED, COMPLETED)):
        labels = {"user": users[number % len(users)], "env": "test" if number % 2 else "x"}
        made.append(await api.job_in(state, fresh_kind(), priority=number, labels=labels))
    await api.create(fresh_kind(), labels={"env": "test"})
    await api.create(fresh_kind())
    completed, failed, cancelled, running, queued, other, gone = made
    await api.retry(failed.job_id)
    await api.delete(gone.job_id)
    for job, changed in (
        (completed, {"labels": {"user": users[1], "env": "test"}}),
        (cancelled, {"labels": {}}),
        (running, {"priority": 10}),
        (queued, {"priority": 0, "labels": {"user": users[0], "more": "x"}}),
    ):
        mask = FieldMask(paths=[*changed])
        await api.update(job.job_id, update_mask=mask, **changed)
    await api.cancel(other.job_id)
    return made


@pytest.mark.guarantee("3e.1")
@pytest.mark.long
async def test_lists_are_the_same_before_while_and_after_a_label_is_indexed(
    start_server: StartServer, connect: Connect, store: str, tmp_path: Path
):
    users = ["ada", "", "ö" * 255, "😀" * 255]
    server = start_server()
    api = connect(server)
    await live(api, users)
    await check(api, users)
    assert server.stop() == 0

    begin_indexes(server.database, ["tenant", "user"])
    server = start_server(server.database, indexed_labels="user env")
    api = connect(server)
    assert await shown(api) == {"env": False, "tenant": False, "user": False}
    assert server.log.read_text().count("run `jobledger-server migrate`") == 1
    await check(api, users)
    await live(api, users)
    await check(api, users)
    if store == "sqlite":  # one process has the database
        assert server.stop() == 0
        migrate(server.database, tmp_path, "user tenant")
        api = connect(server := start_server(server.database))
    else:
        migrate(server.database, tmp_path, "user tenant")
    await check(api, users)
    await live(api, users)
    await check(api, users)
    assert await watched(api, "ada") == {
        job.job_id for job in await pages(api, filter=JobFilter(labels={"user": "ada"}))
    }
    cancelled = await api.jobs.CancelJobs(CancelJobsRequest(filter=JobFilter(labels={"user": "ada"})))
    await ended(api, cancelled.job.job_id)
    await check(api, users)
    server.kill()

    migrate(server.database, tmp_path, "env")
    server = start_server(server.database, indexed_labels="env")
    api = connect(server)
    await ready(api, "env")
    await live(api, users)
    await check(api, users)
    server.kill()
    migrate(server.database, tmp_path, "user")
    server = start_server(server.database, indexed_labels="user")
    await ready(api := connect(server), "user")
    await live(api, users)
    await check(api, users)
    assert server.stop() == 0
    assert server.defects() == []
    with closing(open_database(server.database)) as database:
        rows = written(database)
        assert recount(database).label_indexes == 1
        assert written(database) == rows, "what servers wrote is what the jobs have"


@pytest.mark.guarantee("3e.1")
async def test_a_page_token_continues_its_list_when_other_labels_are_indexed(
    start_server: StartServer, connect: Connect, kind: str, tmp_path: Path
):
    """Walks begin with one label indexed, continue with another, and end with none."""
    server = start_server(indexed_labels="user")
    await ready(api := connect(server), "user")
    creations = [
        CreateJobRequest(job_id=f"j{number:02}", kind=kind, priority=number % 3, labels={"user": "ada", "env": "test"})
        for number in range(21)
    ]
    await api.jobs.BatchCreateJobs(BatchCreateJobsRequest(requests=creations))
    for number in range(0, 20, 3):
        await api.cancel(f"j{number:02}")
    filters = [JobFilter(labels={"user": "ada"}), JobFilter(labels={"user": "ada", "env": "test"}, states=[QUEUED])]
    walks = [ListJobsRequest(filter=wanted, order=order, page_size=4) for wanted in filters for order in ORDERS]
    expected = [[job.job_id for job in await pages(api, filter=walk.filter, order=walk.order)] for walk in walks]
    found: list[list[str]] = [[] for _ in walks]
    for labels in ("user", "env", ""):
        if labels != "user":
            server.kill()
            migrate(server.database, tmp_path, labels)
            server = start_server(server.database, indexed_labels=labels)
            await ready(api := connect(server), *labels.split())
        for walk, listed in zip(walks, found, strict=True):
            page = await api.jobs.ListJobs(walk)
            listed += [job.job_id for job in page.jobs]
            walk.page_token = page.next_page_token
    for walk, listed in zip(walks, found, strict=True):
        while walk.page_token:
            page = await api.jobs.ListJobs(walk)
            listed += [job.job_id for job in page.jobs]
            walk.page_token = page.next_page_token
    assert found == expected
    assert {len(ids) for ids in expected} == {21, 14}


async def test_in_with_many_values_is_bounded_and_finds_a_value_of_each_job(
    start_server: StartServer, connect: Connect, store: str
):
    server = start_server(indexed_labels="user")
    api = connect(server)
    kind = fresh_kind()
    await api.jobs.BatchCreateJobs(
        BatchCreateJobsRequest(
            requests=[CreateJobRequest(kind=kind, labels={"user": f"u{number}"}) for number in range(120)]
        )
    )
    await ready(api, "user")
    hundred = [f"u{number}" for number in range(100)]
    for order in ORDERS:
        for states in ([], [QUEUED]):
            condition = LabelCondition(name="user", operator=IN, values=hundred)
            found = await pages(api, 30, filter=JobFilter(label_conditions=[condition], states=states), order=order)
            assert {job.labels["user"] for job in found} == {*hundred}
            assert len(found) == 100
    condition = LabelCondition(name="user", operator=IN, values=[f"u{number}" for number in range(101)])
    with invalid("filter.label_conditions.values"):
        await api.list_jobs(filter=JobFilter(label_conditions=[condition]))


@pytest.mark.guarantee("3b.8")
async def test_owners_with_the_same_value_see_their_own_jobs(start_server: StartServer, store: str, tmp_path: Path):
    database = new_database(store, tmp_path)
    token = first_key(database)
    server = start_server(database, auth="keys", indexed_labels="user")
    admin = KeyedApi(server.target, token)
    await ready(admin, "user")
    made: dict[str, set[str]] = {}
    apis: dict[str, KeyedApi] = {}
    for owner in ("one", "two"):
        apis[owner] = KeyedApi(server.target, (await admin.make(CALLER, owner=owner)).token)
        made[owner] = {(await apis[owner].create(fresh_kind(), labels={"user": "ada"})).job_id for _ in range(3)}
    for owner, api in apis.items():
        for order in ORDERS:
            found = await pages(api, 2, filter=JobFilter(labels={"user": "ada"}), order=order)
            assert {job.job_id for job in found} == made[owner]
        await api.channel.close()
    await admin.channel.close()


@pytest.mark.guarantee("3e.1")
async def test_a_replica_writes_the_labels_that_the_ledger_names(
    start_server: StartServer, connect: Connect, store: str, tmp_path: Path
):
    if store == "sqlite":
        pytest.skip("an SQLite database has one server")
    older = start_server()
    api = connect(older)
    user = uuid4().hex
    before = await api.create(fresh_kind(), labels={"user": user})
    migrate(older.database, tmp_path, "user")
    newer = connect(start_server(older.database, indexed_labels="user"))
    await ready(newer, "user")
    after = await api.job_in(COMPLETED, fresh_kind(), labels={"user": user})
    for one in (api, newer):
        found = await pages(one, 1, filter=JobFilter(labels={"user": user}), order=JobOrder.JOB_ORDER_END_TIME_DESC)
        assert [job.job_id for job in found] == [before.job_id, after.job_id]


@pytest.mark.parametrize(
    ("given", "rule"), [("a b c d e", "5 names; at most 4 are allowed"), ("us*er", "value 'us*er' must be a label")]
)
def test_a_wrong_setting_ends_the_start(tmp_path: Path, given: str, rule: str):
    for command in (["serve", "--listen", "127.0.0.1:0"], ["migrate"]):
        ended = run_command(tmp_path, *command, "--indexed-labels", given)
        assert ended.returncode == CONFIGURATION
        assert f"--indexed-labels: {rule}" in ended.stderr
