"""Another owner's job is not there: every RPC that takes a job, or a lease, answers as if it did not exist."""

from collections.abc import Iterator
from datetime import timedelta

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from jobledger.v1.bulk_pb2 import CancelJobsRequest
from jobledger.v1.export_pb2 import ExportFormat, ExportJobsRequest
from jobledger.v1.job_service_pb2 import CreateJobRequest, ListAttemptsRequest, WatchJobRequest
from jobledger.v1.limit_service_pb2 import Limit, ListLimitsRequest, SetLimitRequest
from jobledger.v1.limit_service_pb2_grpc import LimitServiceStub
from jobledger.v1.webhook_pb2 import WEBHOOK_EVENT_TYPE_JOB_CREATED
from jobledger.v1.webhook_service_pb2 import CreateWebhookRequest, DeleteWebhookRequest, ListWebhooksRequest
from jobledger.v1.webhook_service_pb2_grpc import WebhookServiceStub

from tests.access.conftest import As, Keyed
from tests.access.test_roles import served
from tests.support.errors import refused
from tests.support.keys import ADMIN, CALLER, WORKER, KeyedApi
from tests.support.limits import delete_limit, each_scope, kind_scope, label_scope, listed_limits, set_limit
from tests.support.states import LEASE_LOST, OK
from tests.support.watching import BOOKMARK

# what some requests cannot do without
FILLING = {"worker": "w", "chunk_index": 0, "priority": 1, "update_mask": {"paths": ["priority"]}}
SHARED = {"CreateJob", "CreateApiKey"}  # whose job_id is a name that each owner may use


def taking(keyed: Keyed, *fields: str) -> Iterator[MethodDescriptor]:
    """Yield the methods whose request has one of these fields at its top."""
    yield from (one for one in served(keyed) if set(fields) & set(one.input_type.fields_by_name))


def request_of(method: MethodDescriptor, job_id: str) -> bytes:
    form = GetMessageClass(method.input_type)
    known = method.input_type.fields_by_name
    return form(job_id=job_id, **{name: value for name, value in FILLING.items() if name in known}).SerializeToString()


@pytest.fixture
async def mine(keyed: Keyed, admin: KeyedApi, as_holder: As) -> KeyedApi:
    return as_holder(keyed.replicas[0], (await admin.make(CALLER, WORKER, owner="mine")).token)


@pytest.fixture(params=[(CALLER, WORKER), (ADMIN,)], ids=["caller and worker", "admin"])
async def other(keyed: Keyed, admin: KeyedApi, as_holder: As, request: pytest.FixtureRequest) -> KeyedApi:
    return as_holder(keyed.replicas[-1], (await admin.make(*request.param, owner="other")).token)


@pytest.mark.guarantee("3b.10")
async def test_anothers_uid_names_none_of_ones_own_jobs(mine: KeyedApi, other: KeyedApi, kind: str):
    cursor = (await mine.list_jobs(page_size=1)).cursor
    jobs = {api: await api.create(kind, job_id=kind) for api in (mine, other)}
    for api, neighbour in (mine, other), (other, mine):
        uid = jobs[neighbour].uid
        for fields in {}, {"cursor": cursor}:
            with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
                async with api.watch_job(kind, uid=uid, **fields) as watch:
                    await watch.message()
            async with api.watch_job(kind, uid=jobs[api].uid, **fields) as watch:
                assert (await watch.message()).job.uid == jobs[api].uid
        with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
            await api.list_chunks(kind, uid=uid)
        with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
            await api.jobs.ListAttempts(ListAttemptsRequest(job_id=kind, uid=uid))


async def test_every_method_that_takes_a_job_does_not_find_anothers(
    keyed: Keyed, mine: KeyedApi, other: KeyedApi, kind: str
):
    job = await mine.create(kind)
    assert job.owner == "mine"
    walked = [method for method in taking(keyed, "job_id") if method.name not in SHARED]
    assert {method.name for method in walked} >= {"GetJob", "WatchJob", "ListChunks", "ListEvents", "ClaimChunk"}
    for method in walked:
        path = f"/{method.containing_service.full_name}/{method.name}"
        with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
            await other.channel.unary_stream(path)(request_of(method, job.job_id)).read()
    assert (await mine.get(job.job_id)).revision == job.revision


async def test_batches_lists_and_watches_do_not_show_anothers_job(mine: KeyedApi, other: KeyedApi, kind: str):
    job = await mine.create(kind)
    batch = await other.batch_get(job_ids=[job.job_id])
    assert (list(batch.jobs), list(batch.missing_job_ids)) == ([], [job.job_id])
    listed = await other.list_jobs(filter={"kinds": [kind]})
    assert (list(listed.jobs), listed.total_size) == ([], 0)
    async with other.watch_jobs(kind) as now, other.watch_jobs(kind, cursor=listed.cursor) as later:
        assert (await now.message()).type == BOOKMARK
        await mine.cancel(job.job_id)
        assert {(await now.message()).type for _ in range(2)} == {BOOKMARK}
        assert {(await later.message()).type for _ in range(2)} == {BOOKMARK}


async def test_a_cursor_does_not_open_anothers_history(mine: KeyedApi, other: KeyedApi, kind: str):
    cursor = (await mine.list_jobs(page_size=1)).cursor
    job = await mine.create(kind)
    with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
        await other.jobs.WatchJob(WatchJobRequest(job_id=job.job_id, cursor=cursor)).read()


async def test_anothers_chunks_are_not_claimed_and_leases_are_lost(mine: KeyedApi, other: KeyedApi, kind: str):
    await mine.create(kind)
    assert await other.claim(kind, 10) == []
    [claimed] = await mine.claim(kind)
    assert (await other.report(claimed, percent=50)).status == LEASE_LOST
    for end in (other.complete, other.fail, other.release):
        assert [result.status for result in await end(claimed)] == [LEASE_LOST]
    assert [result.status for result in await mine.complete(claimed)] == [OK]


async def test_two_owners_may_use_one_job_id_and_one_request_id(mine: KeyedApi, other: KeyedApi, kind: str):
    ours = [
        await api.jobs.CreateJob(CreateJobRequest(kind=kind, job_id=kind, request_id=kind, item_count=count))
        for api, count in ((mine, 1), (other, 2))
    ]
    assert [answer.created for answer in ours] == [True, True]
    assert [(await api.get(kind)).progress.items_total for api in (mine, other)] == [1, 2]
    assert await other.claim(kind, 10, wait=timedelta(0)) != []
    assert (await mine.get(kind)).chunks_summary.pending == 1


async def test_the_history_names_the_key_and_the_worker(admin: KeyedApi, keyed: Keyed, as_holder: As, kind: str):
    made = await admin.make(CALLER, WORKER, name="billing", owner="mine")
    api = as_holder(keyed.replicas[0], made.token)
    job = await api.create(kind)
    await api.claim(kind, worker="host-7")
    await api.cancel(job.job_id)
    events = (await api.list_events(job.job_id)).events
    actor = f"billing/{made.api_key.key_id}"
    assert [change.actor for event in events for change in event.changes] == [actor, "host-7", actor]


async def test_anothers_job_is_no_operation(keyed: Keyed, mine: KeyedApi, other: KeyedApi, kind: str):
    job = await mine.create(kind)
    walked = [method for method in taking(keyed, "name") if method.containing_service.name == "Operations"]
    named = [method for method in walked if method.name != "ListOperations"]
    assert {method.name for method in named} == {"GetOperation", "WaitOperation", "CancelOperation", "DeleteOperation"}
    for method in named:
        request = GetMessageClass(method.input_type)(name=f"operations/{job.job_id}").SerializeToString()
        with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
            await other.channel.unary_unary(f"/{method.containing_service.full_name}/{method.name}")(request)
    assert (await mine.get(job.job_id)).revision == job.revision


async def test_anothers_webhook_is_not_there(keyed: Keyed, mine: KeyedApi, other: KeyedApi, kind: str):
    hooks = WebhookServiceStub(mine.channel)
    wanted = CreateWebhookRequest(
        url="https://hooks.example/in", kinds=[kind], event_types=[WEBHOOK_EVENT_TYPE_JOB_CREATED]
    )
    made = (await hooks.CreateWebhook(wanted)).webhook
    filling = {"update_mask": {"paths": ["description"]}, "since_position": 0}
    walked = list(taking(keyed, "webhook_id"))
    assert {method.name for method in walked} >= {"GetWebhook", "UpdateWebhook", "RotateWebhookSecret", "PingWebhook"}
    for method in walked:
        known = {name: value for name, value in filling.items() if name in method.input_type.fields_by_name}
        request = GetMessageClass(method.input_type)(webhook_id=made.webhook_id, **known).SerializeToString()
        with refused(grpc.StatusCode.NOT_FOUND, "WEBHOOK_NOT_FOUND"):
            await other.channel.unary_unary(f"/{method.containing_service.full_name}/{method.name}")(request)
    assert made.webhook_id not in {
        one.webhook_id for one in (await WebhookServiceStub(other.channel).ListWebhooks(ListWebhooksRequest())).webhooks
    }
    await hooks.DeleteWebhook(DeleteWebhookRequest(webhook_id=made.webhook_id))


@pytest.mark.guarantee("3b.8")
async def test_another_owner_neither_counts_nor_exports_nor_means_a_job(mine: KeyedApi, other: KeyedApi, kind: str):
    await mine.create(kind, job_id=f"failed-{kind}")
    await mine.fail(*await mine.claim(kind), code=kind, not_retryable=True)
    job = await mine.create(kind, display_name=kind)
    stats = await other.stats(kinds=[kind])
    assert (stats.total.now.queued, stats.total.activity.created, len(stats.total.failures)) == (0, 0, 0)
    every = await other.stats(series_by_kind=True, step=1)
    assert kind not in str(every), "no group, no example and no series of another's"
    exported = other.jobs.ExportJobs(ExportJobsRequest(format=ExportFormat.EXPORT_FORMAT_JSON_LINES))
    assert job.job_id.encode() not in b"".join([piece.data async for piece in exported])
    for wanted in ({"filter": {"search": kind}}, {"job_ids": [job.job_id]}):
        meant = await other.jobs.CancelJobs(CancelJobsRequest(validate_only=True, **wanted))
        assert (meant.matched_count, list(meant.sample)) == (0, [])
    own = (await mine.stats(kinds=[kind])).total
    assert (own.now.queued, own.failures[0].error_code, own.failures[0].example_job_id) == (1, kind, f"failed-{kind}")
    mined = mine.jobs.ExportJobs(ExportJobsRequest(format=ExportFormat.EXPORT_FORMAT_JSON_LINES))
    assert job.job_id.encode() in b"".join([piece.data async for piece in mined])


@pytest.mark.guarantee("3b.8")
async def test_a_caller_changes_no_number_whatever_it_creates(admin: KeyedApi, keyed: Keyed, as_holder: As, kind: str):
    owner = f"caller-{kind[-8:]}"
    made = [await admin.make(role, owner=owner) for role in (ADMIN, CALLER)]
    operator, caller = (as_holder(keyed.replicas[0], one.token) for one in made)
    each = await set_limit(operator, each_scope("user"), 1)
    of_kind = await set_limit(operator, kind_scope(kind), 2)
    labels = {"user": "ann", "team": "a"}
    for _ in range(3):
        await caller.create(kind, labels=labels, limited_labels=["user", "team"])
    of_kind.running = 1
    of_ann = Limit(scope=label_scope("user", "ann"), max_running=1, running=1, waiting=2, inherited=True)
    assert await listed_limits(caller) == [each, of_kind, of_ann]
    for change in (set_limit(caller, kind_scope(kind), 100), delete_limit(caller, kind_scope(kind))):
        with refused(grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING"):
            await change


async def test_a_limit_is_of_one_owner(admin: KeyedApi, keyed: Keyed, as_holder: As, kind: str):
    made = [await admin.make(ADMIN, owner=owner) for owner in ("limited", "unlimited")]
    limited, unlimited = (as_holder(keyed.replicas[0], one.token) for one in made)
    await set_limit(limited, kind_scope(kind), 1)
    assert await listed_limits(unlimited) == []
    assert [bool((await unlimited.create(kind)).holds) for _ in range(2)] == [False, False]
    assert [bool((await limited.create(kind)).holds) for _ in range(2)] == [False, True]


async def test_a_limit_shows_who_set_it_when_and_why(admin: KeyedApi, keyed: Keyed, as_holder: As, kind: str):
    made = [await admin.make(ADMIN, owner=f"{name}-{kind[-8:]}") for name in ("first", "second")]
    for key, reason in zip(made, ("the disk is full", "moved"), strict=True):
        api = as_holder(keyed.replicas[0], key.token)
        stub = LimitServiceStub(api.channel)
        before = (await api.create(kind, labels={"user": "ann"}, limited_labels=["user"])).create_time
        answered = await stub.SetLimit(SetLimitRequest(scope=each_scope("user"), max_running=9))
        assert answered.limit.reason == ""
        for scope in each_scope("user"), kind_scope(kind):
            await stub.SetLimit(SetLimitRequest(scope=scope, max_running=0, reason=reason))
        await api.create(f"{kind}.other", labels={"user": "ann"}, limited_labels=["user"])
        shown = (await stub.ListLimits(ListLimitsRequest())).limits
        assert [limit.inherited for limit in shown] == [False, False, True]
        assert {(limit.reason, limit.set_by) for limit in shown} == {
            (reason, f"{key.api_key.name}/{key.api_key.key_id}")
        }
        assert all(limit.update_time.ToMicroseconds() >= before.ToMicroseconds() for limit in shown)
        changed = await stub.SetLimit(SetLimitRequest(scope=kind_scope(kind), max_running=1))
        assert changed.limit.reason == ""
        assert changed.limit.update_time.ToMicroseconds() > shown[1].update_time.ToMicroseconds()
