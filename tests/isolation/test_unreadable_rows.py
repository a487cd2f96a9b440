"""One bad row stops no iteration: it is set aside, counted, logged with its place, and told; all others are served."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest
from google.longrunning.operations_pb2 import GetOperationRequest, ListOperationsRequest
from google.longrunning.operations_pb2_grpc import OperationsStub
from google.protobuf.json_format import MessageToJson
from jobledger.v1 import job_service_pb2 as rpc
from jobledger.v1 import webhook_pb2 as hooks
from jobledger.v1 import webhook_service_pb2 as hook_rpc
from jobledger.v1.bulk_pb2 import UpdateJobsRequest
from jobledger.v1.job_pb2 import Job, JobState, JobView
from jobledger.v1.job_service_pb2 import BatchGetJobsRequest, GetJobRequest, ListJobsRequest
from jobledger.v1.webhook_service_pb2_grpc import WebhookServiceStub
from jobledger.v1.worker_service_pb2 import ClaimedChunk, LeaseStatus

from tests.bulk.runs import reason_of, report
from tests.conftest import QUICK
from tests.isolation.damaged_rows import BAD, KIND, NAMES, QUEUE, Damaged, damage, fill
from tests.operate.conftest import lines, scrape
from tests.support.databases import new_database
from tests.support.errors import refused
from tests.support.exports import CSV, JSON_LINES, csv_rows, json_rows, pieces
from tests.support.keys import KeyedApi, first_key
from tests.support.server import Server

ASIDE = "a row cannot be read and is set aside"
SETTINGS = {"auth": "keys", "webhook_allow_http": "true", "metrics_listen": "127.0.0.1:0", "processes": "1"}


@pytest.fixture(scope="module")
def damaged(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Damaged]:
    directory = tmp_path_factory.mktemp("damaged")
    database = new_database(store, directory)
    admin = first_key(database)
    server = Server(database, directory, QUICK | SETTINGS).start()
    made = asyncio.run(fill(server, admin))
    assert server.stop() == 0
    damage(database)
    server.start()
    yield Damaged(server, *made)
    server.stop()


@pytest.fixture
async def alice(damaged: Damaged) -> AsyncIterator[KeyedApi]:
    api = KeyedApi(damaged.server.target, damaged.alice)
    yield api
    await api.channel.close()


@pytest.fixture
async def bob(damaged: Damaged) -> AsyncIterator[KeyedApi]:
    api = KeyedApi(damaged.server.target, damaged.bob)
    yield api
    await api.channel.close()


async def listed(api: KeyedApi, view: JobView, page_size: int) -> tuple[set[str], set[str]]:
    """Return the ids that a list shows, and those that it says it cannot, page by page, each page as JSON too."""
    shown, unreadable, token = set(), set(), ""
    while True:
        request = ListJobsRequest(filter={"kinds": [KIND]}, view=view, page_size=page_size, page_token=token)
        page = await api.jobs.ListJobs(request)
        MessageToJson(page)
        shown |= {job.job_id for job in page.jobs}
        unreadable |= set(page.unreadable_job_ids)
        token = page.next_page_token
        if not token:
            return shown, unreadable


@pytest.mark.guarantee("3b.4")
@pytest.mark.parametrize("page_size", [1, 100])
async def test_lists_continue(alice: KeyedApi, bob: KeyedApi, page_size: int):
    all_ids = set(NAMES)
    assert await listed(alice, JobView.JOB_VIEW_STATUS, page_size) == (all_ids - {"policy"}, {"policy"})
    assert await listed(alice, JobView.JOB_VIEW_BASIC, page_size) == (all_ids - {"nan", "policy"}, {"nan", "policy"})
    assert await listed(alice, JobView.JOB_VIEW_FULL, page_size) == (all_ids - BAD - {"deep"}, BAD | {"deep"})
    assert await listed(bob, JobView.JOB_VIEW_FULL, page_size) == (all_ids, set())


async def test_a_batch_of_jobs_continues(alice: KeyedApi):
    ids = [*NAMES, "none"]
    batch = await alice.batch_get(job_ids=ids)
    MessageToJson(batch)
    assert [job.job_id for job in batch.jobs] == ["event", "told", "good"]
    assert list(batch.unreadable_job_ids) == ["nan", "policy", "deep", "chunk"]
    assert list(batch.missing_job_ids) == ["none"]


async def test_reads_that_are_gathered_fail_alone(alice: KeyedApi, bob: KeyedApi):
    calls = []
    for _ in range(20):  # together they become one read of the store, whoever's they are
        calls += [bob.get("good"), alice.get("good"), alice.get("policy"), alice.get("chunk")]
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(one) for one in done] == [Job, Job, grpc.aio.AioRpcError, grpc.aio.AioRpcError] * 20
    for job_id in ("policy", "chunk"):
        with refused(grpc.StatusCode.DATA_LOSS, "JOB_UNREADABLE") as result:
            await alice.get(job_id)
        assert result.metadata == {"job_id": job_id}
    basic = GetJobRequest(job_id="deep", view=JobView.JOB_VIEW_BASIC)
    assert (await alice.jobs.GetJob(basic)).job.state == JobState.JOB_STATE_QUEUED


@pytest.mark.guarantee("3b.4")
async def test_labels_that_are_no_labels_keep_no_other_row_from_being_fetched(alice: KeyedApi, bob: KeyedApi):
    filtered = {"kinds": ["labelled"]}
    for api, bad in ((alice, ["labelled"]), (bob, [])):
        good = [job_id for job_id in ("labelled", "plain") if job_id not in bad]
        for view in (JobView.JOB_VIEW_STATUS, JobView.JOB_VIEW_BASIC, JobView.JOB_VIEW_FULL):
            page = await api.list_jobs(filter=filtered, view=view)
            assert sorted(job.job_id for job in page.jobs) == good
            assert list(page.unreadable_job_ids) == bad
        batch = await api.batch_get(job_ids=["labelled", "plain"])
        assert ([job.job_id for job in batch.jobs], list(batch.unreadable_job_ids)) == (good, bad)
    with refused(grpc.StatusCode.DATA_LOSS, "JOB_UNREADABLE"):
        await alice.cancel("labelled")
    assert [one.job_id for one in await alice.claim("labelled", 10)] == ["plain"]
    assert [one.job_id for one in await bob.claim("labelled", 10)] == ["labelled", "plain"]


async def test_operations_continue(alice: KeyedApi):
    operations = OperationsStub(alice.channel)
    page = await operations.ListOperations(ListOperationsRequest(name="operations", page_size=100))
    MessageToJson(page)
    shown = {
        one.name.removeprefix("operations/").partition("@")[0]: one.HasField("metadata") for one in page.operations
    }
    assert {name: shown[name] for name in NAMES} == {name: name not in {"nan", "policy"} for name in NAMES}
    with refused(grpc.StatusCode.DATA_LOSS, "JOB_UNREADABLE"):
        await operations.GetOperation(GetOperationRequest(name="operations/policy"))


async def test_chunks_and_events_continue(alice: KeyedApi):
    page = await alice.list_chunks("chunk")
    assert (list(page.chunks), list(page.unreadable_chunk_indexes)) == ([], [0])
    events = await alice.jobs.ListEvents(rpc.ListEventsRequest(job_id="event"))
    assert len(events.events) + len(events.unreadable_positions) >= 1
    assert len(events.unreadable_positions) == 1


@pytest.mark.parametrize("format_", [CSV, JSON_LINES])
async def test_an_export_has_a_line_for_it_that_reports_why(alice: KeyedApi, format_: int):
    got = [one async for one in pieces(alice, format=format_, filter={"kinds": [KIND]})]
    data = b"".join(one.data for one in got).decode()
    rows = {row["job_id"]: row for row in (csv_rows if format_ == CSV else json_rows)(data)}
    assert set(rows) == set(NAMES)
    errors = {name for name, row in rows.items() if row["export_error"]}
    assert errors == {"nan", "policy"}
    assert (got[-1].row_count, got[-1].unreadable_row_count) == (len(NAMES), 2)
    assert rows["policy"]["owner"] == "alice"
    assert rows["policy"]["create_time"] == rows["policy"]["create_time"] > "2026"
    assert not rows["policy"]["state"]


@pytest.mark.guarantee("3b.4")
async def test_webhooks_continue_with_a_dead_delivery(damaged: Damaged, alice: KeyedApi, bob: KeyedApi):
    async def deliveries(api: KeyedApi, owner: str) -> dict[str, hooks.WebhookDelivery]:
        request = hook_rpc.ListWebhookDeliveriesRequest(webhook_id=damaged.webhooks[owner], page_size=500)
        found = (await WebhookServiceStub(api.channel).ListWebhookDeliveries(request)).deliveries
        return {one.job_id: one for one in found}

    while set(NAMES) - set(await deliveries(bob, "bob")):  # they are recorded in the order of the ledger
        pass
    assert {one.state for one in (await deliveries(bob, "bob")).values()} == {hooks.WEBHOOK_DELIVERY_STATE_PENDING}
    mine = await deliveries(alice, "alice")
    dead = {name for name, one in mine.items() if one.state == hooks.WEBHOOK_DELIVERY_STATE_DEAD}
    assert dead == {"event", "told"}
    assert set(NAMES) <= set(mine)
    assert all("the event cannot be shown" in mine[name].attempts[0].error for name in dead)


@pytest.mark.guarantee("3b.4")
async def test_a_watch_continues_but_the_owners_is_reported(damaged: Damaged, alice: KeyedApi, bob: KeyedApi):
    async with bob.watch_jobs(KIND, cursor=damaged.cursor, mode=rpc.WatchMode.WATCH_MODE_EVERY) as watch:
        assert [one.job.job_id for one in await watch.changes(len(NAMES))] == NAMES
    async with alice.watch_jobs(KIND, cursor=damaged.cursor, mode=rpc.WatchMode.WATCH_MODE_EVERY) as watch:
        with refused(grpc.StatusCode.DATA_LOSS, "JOB_UNREADABLE") as result:
            await watch.changes(len(NAMES))
    assert result.metadata == {"job_id": "event"}


@pytest.mark.guarantee("3b.4")
async def test_the_snapshots_of_a_watch_continue_and_name_what_cannot_be_shown(alice: KeyedApi, bob: KeyedApi):
    for api, bad in ((alice, {"nan", "policy"}), (bob, set[str]())):
        shown, unreadable = list[str](), set[str]()
        async with api.watch_jobs(KIND) as watch:
            while (message := await watch.message()).type == rpc.WatchMessageType.WATCH_MESSAGE_TYPE_SNAPSHOT:
                MessageToJson(message)
                assert message.HasField("job") != bool(message.unreadable_job_ids)
                shown += [message.job.job_id] if message.HasField("job") else []
                unreadable |= set(message.unreadable_job_ids)
        assert message.type == rpc.WatchMessageType.WATCH_MESSAGE_TYPE_BOOKMARK
        assert (sorted(shown), unreadable) == (sorted(set(NAMES) - bad), bad)


async def test_a_watch_of_one_job_that_cannot_be_shown_is_reported(alice: KeyedApi):
    for job_id in ("nan", "policy", "chunk", "deep"):
        async with alice.watch_job(job_id) as watch:
            with refused(grpc.StatusCode.DATA_LOSS, "JOB_UNREADABLE") as result:
                await watch.message()
        assert result.metadata == {"job_id": job_id}


@pytest.mark.guarantee("3b.4")
async def test_retention_continues(alice: KeyedApi, bob: KeyedApi):
    for api, job_ids in ((alice, ["ended"]), (bob, ["ended", "kept"])):
        request = BatchGetJobsRequest(job_ids=job_ids)
        while (await api.jobs.BatchGetJobs(request)).jobs:
            pass
    assert (await alice.batch_get(job_ids=["kept"])).unreadable_job_ids == ["kept"]


async def test_a_run_over_many_jobs_continues_and_reports(alice: KeyedApi):
    request = UpdateJobsRequest(job_ids=["policy", "good"], update_mask={"paths": ["priority"]}, priority=9)
    run = (await alice.jobs.UpdateJobs(request)).job
    async with alice.watch_job(run.job_id) as watch:
        ended = await watch.until(lambda message: message.job.state == JobState.JOB_STATE_COMPLETED)
    reported = report(ended.job)
    assert (reported["applied"], reported["refused"]) == (1, 1)
    assert [(one["job_id"], reason_of(one)) for one in reported["refusals"]] == [("policy", "JOB_UNREADABLE")]


async def test_a_claim_continues_and_a_chunk_that_cannot_be_shown_fails(alice: KeyedApi, bob: KeyedApi):
    assert [one.job_id for one in await alice.claim("deeper", 10)] == ["fine"]
    assert [one.job_id for one in await bob.claim("deeper", 10)] == ["deeper", "fine"]
    basic = GetJobRequest(job_id="deeper", view=JobView.JOB_VIEW_BASIC)
    job = (await alice.jobs.GetJob(basic)).job
    assert (job.state, job.error.code) == (JobState.JOB_STATE_FAILED, "INPUT_UNREADABLE")


@pytest.mark.guarantee("3b.4")
async def test_a_claim_passes_over_what_cannot_be_read_and_gets_what_waits_behind_it(
    damaged: Damaged, alice: KeyedApi, bob: KeyedApi
):
    def places(claimed: list[ClaimedChunk]) -> list[tuple[str, int]]:
        return [(one.job_id, one.chunk.index) for one in claimed]

    behind = [("no-chunk", 1), ("no-chunk", 2), *(("after", index) for index in range(3))]
    first = await alice.claim(QUEUE, 1)
    assert places(first) == behind[:1]
    assert places(await alice.claim(QUEUE, 10)) == behind[1:]
    assert [job_id for job_id, _ in places(await bob.claim(QUEUE, 10))] == ["no-job"] * 3 + ["no-chunk"] * 3 + [
        "after"
    ] * 3
    assert (await alice.report(first[0])).status == LeaseStatus.LEASE_STATUS_OK
    aside = {(line["place"], line["row"]) for line in lines(damaged.server, ASIDE)}
    assert {("job", "alice/no-job"), ("chunk", "('alice/no-chunk', 0)")} <= aside


async def test_a_verb_on_a_job_that_cannot_be_read_reports_it(alice: KeyedApi, bob: KeyedApi):
    for verb in (alice.cancel("policy"), alice.create("other", job_id="policy")):
        with refused(grpc.StatusCode.DATA_LOSS, "JOB_UNREADABLE") as result:
            await verb
        assert result.metadata == {"job_id": "policy"}
    assert (await bob.get("policy")).state == JobState.JOB_STATE_QUEUED


@pytest.mark.guarantee("3b.4")
async def test_what_is_set_aside_is_counted_and_logged_with_its_place(damaged: Damaged, alice: KeyedApi):
    await listed(alice, JobView.JOB_VIEW_FULL, 100)
    with refused(grpc.StatusCode.DATA_LOSS, "JOB_UNREADABLE"):
        await alice.cancel("policy")
    aside = [(line["place"], line["row"]) for line in lines(damaged.server, ASIDE)]
    assert {("job", "alice/policy"), ("ListJobs", "nan")} <= {*aside}
    assert len({*aside}) == len(aside), "each is logged once"
    assert (await asyncio.to_thread(scrape, damaged.server)).value("jobledger_unreadable_rows_total", place="ListJobs")
