"""An admin acts on another owner's jobs by naming it, in the admin's own name; nobody else learns anything so."""

import asyncio
import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from jobledger.v1 import job_service_pb2 as rpc
from jobledger.v1.bulk_pb2 import CancelJobsRequest, DeleteJobsRequest
from jobledger.v1.limit_service_pb2 import (
    DeleteLimitRequest,
    ListLimitsRequest,
    ListPausedKindsRequest,
    PauseKindRequest,
    ResumeKindRequest,
    SetLimitRequest,
)
from jobledger.v1.limit_service_pb2_grpc import LimitServiceStub
from jobledger_client import JobClient, for_kind
from jobledger_client.cli._main import run
from jobledger_service.core.api.job_service import METHODS as JOB_METHODS
from jobledger_service.core.api.job_service import JobService
from jobledger_service.features.bulk.api import METHODS as BULK_METHODS
from jobledger_service.features.bulk.api import BulkCalls
from jobledger_service.features.limits.api import METHODS as LIMIT_METHODS
from jobledger_service.features.limits.api import LimitService
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Method
from jobledger_service.transport.refusals import RoleMissing

from tests.access.conftest import As, Keyed
from tests.bulk.runs import ended, reason_of, report
from tests.support.errors import invalid, refused
from tests.support.keys import ADMIN, KeyedApi
from tests.support.limits import kind_scope
from tests.support.states import CANCELLED, FAILED, QUEUED
from tests.support.watching import CHANGED, SNAPSHOT


class Unasked:
    """Stands for the database and all else that a method may ask: whoever does fails."""

    def __getattr__(self, name: str) -> "Unasked":
        """Return a part of it, which may not be asked either."""
        return self

    def __call__(self, *given: object, **more: object) -> None:
        """Fail."""
        raise AssertionError("something was asked for it")


UNASKED = Unasked()
ANSWERS: tuple[tuple[Callable[..., object], tuple[Method, ...], int], ...] = (
    (JobService, JOB_METHODS, 6),
    (BulkCalls, BULK_METHODS, 1),
    (LimitService, LIMIT_METHODS, 2),
)


def owned_methods() -> dict[str, tuple[object, MethodDescriptor]]:
    """Return the methods whose request names an owner, itself or in its filter, and an object that would answer."""
    found = {}
    for kind, methods, parts in ANSWERS:
        for one in methods:
            method = descriptor_pool.Default().FindMethodByName(f"{one.service}.{one.name}")
            fields = method.input_type.fields_by_name
            if "owner" in fields or "filter" in fields:
                found[one.name] = kind(*[UNASKED] * parts), method
    return found


OWNED = owned_methods()


def naming(method: MethodDescriptor, owner: str, job_id: str) -> Message:
    """Return a request that names an owner, and a job where it can."""
    request = GetMessageClass(method.input_type)()
    (request.filter if "filter" in method.input_type.fields_by_name else request).owner = owner
    if "job_id" in method.input_type.fields_by_name:
        request.job_id = job_id
    elif "job_ids" in method.input_type.fields_by_name:
        request.job_ids.append(job_id)
    return request


@pytest.fixture
async def ops(keyed: Keyed, admin: KeyedApi, as_holder: As) -> tuple[KeyedApi, str]:
    """Return the API of another admin, and the actor that its changes have."""
    made = await admin.make(ADMIN, owner="operations", name="ops")
    return as_holder(keyed.replicas[0], made.token), f"ops/{made.api_key.key_id}"


async def actors(api: KeyedApi, job_id: str, owner: str = "") -> list[str]:
    """Return who did each change of a job."""
    events = (await api.list_events(job_id, filter={"owner": owner})).events
    return [change.actor for event in events for change in event.changes]


def test_the_methods_that_name_an_owner_are_all_of_those_about_jobs_that_there_are_and_all_about_limits():
    about_jobs = {one.name for methods in (JOB_METHODS, BULK_METHODS) for one in methods}
    assert OWNED.keys() == about_jobs - {"CreateJob", "BatchCreateJobs"} | {one.name for one in LIMIT_METHODS}


async def test_an_admin_reads_a_named_owners_job_whole(
    theirs: KeyedApi, ops: tuple[KeyedApi, str], owner: str, kind: str
):
    api, _ = ops
    job = await theirs.job_in(FAILED, kind)
    of, id_of = {"owner": owner}, {"owner": owner, "job_id": job.job_id}
    found = (await api.jobs.GetJob(rpc.GetJobRequest(**id_of))).job
    assert (found.owner, found.uid, found.state) == (owner, job.uid, FAILED)
    batch = await api.jobs.BatchGetJobs(rpc.BatchGetJobsRequest(job_ids=[job.job_id], **of))
    assert [one.uid for one in batch.jobs] == [job.uid]
    assert len((await api.jobs.ListChunks(rpc.ListChunksRequest(**id_of))).chunks) == 1
    assert len((await api.jobs.ListAttempts(rpc.ListAttemptsRequest(**id_of))).attempts) == 1
    assert await actors(api, **id_of) == await actors(theirs, job.job_id)
    async with api.watch_job(**id_of) as watch:
        assert (await watch.message()).job.uid == job.uid
    with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
        await api.get(job.job_id)  # its own owner has no such job
    with invalid("owner"):
        await api.jobs.GetJob(rpc.GetJobRequest(job_id=job.job_id, owner="not an owner"))


@pytest.mark.guarantee("3b.12")
async def test_what_an_admin_changes_is_the_owners_and_its_trail_names_the_admins_key(
    theirs: KeyedApi, ops: tuple[KeyedApi, str], owner: str, kind: str
):
    api, actor = ops
    job = await theirs.create(kind)
    id_of = {"owner": owner, "job_id": job.job_id}
    async with theirs.watch_job(job.job_id) as watch:
        assert (await watch.message()).type == SNAPSHOT
        changed = rpc.UpdateJobRequest(priority=9, update_mask={"paths": ["priority"]}, etag=job.etag, **id_of)
        updated = (await api.jobs.UpdateJob(changed)).job
        assert (updated.owner, updated.priority) == (owner, 9)
        message = await watch.change()
        assert (message.type, message.job.priority, message.event.owner) == (CHANGED, 9, owner)
    with refused(grpc.StatusCode.ABORTED, "ETAG_MISMATCH"):
        await api.jobs.UpdateJob(changed)
    await api.jobs.CancelJob(rpc.CancelJobRequest(reason="an outage", **id_of))
    assert (await theirs.get(job.job_id)).state == CANCELLED
    await api.jobs.RetryJob(rpc.RetryJobRequest(**id_of))
    assert [one.job_id for one in await theirs.claim(kind)] == [job.job_id]
    trail = await actors(theirs, job.job_id)
    assert trail[1:4] == [actor] * 3
    assert actor not in (trail[0], trail[4])
    found = (await theirs.jobs.ListEvents(rpc.ListEventsRequest(filter={"actors": [actor]}))).events
    assert [(one.job_id, one.owner) for one in found] == [(job.job_id, owner)] * 3
    await api.jobs.DeleteJob(rpc.DeleteJobRequest(force=True, **id_of))
    with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
        await theirs.get(job.job_id)
    assert (await actors(theirs, job.job_id))[-1] == actor


async def test_a_retry_by_an_admin_wakes_the_owners_waiting_worker(
    theirs: KeyedApi, ops: tuple[KeyedApi, str], owner: str, kind: str
):
    job = await theirs.job_in(FAILED, kind)
    waiting = asyncio.create_task(theirs.claim(kind, wait={"seconds": 60}))
    await ops[0].jobs.RetryJob(rpc.RetryJobRequest(job_id=job.job_id, owner=owner))
    assert [one.job_id for one in await waiting] == [job.job_id]


@pytest.mark.guarantee("3b.12")
async def test_request_ids_of_an_admin_are_those_of_its_own_owner(
    theirs: KeyedApi, ops: tuple[KeyedApi, str], owner: str, kind: str
):
    api, _ = ops
    first, second = [(await theirs.job_in(FAILED, kind)).job_id for _ in range(2)]
    same = {"request_id": uuid4().hex}
    await theirs.jobs.RetryJob(rpc.RetryJobRequest(job_id=first, **same))
    asked = rpc.RetryJobRequest(job_id=second, owner=owner, **same)
    retried = (await api.jobs.RetryJob(asked)).job  # the owner's request with this id is none of the admin's
    assert (retried.job_id, retried.state) == (second, QUEUED)
    assert (await api.jobs.RetryJob(asked)).job == retried
    assert (await theirs.get(second)).retry_count == 1
    with refused(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED") as result:
        await theirs.jobs.RetryJob(rpc.RetryJobRequest(job_id=second, **same))
    assert result.metadata["job_id"] == first
    with refused(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED") as result:
        await api.jobs.RetryJob(rpc.RetryJobRequest(job_id=first, owner=owner, **same))
    assert result.metadata["job_id"] == second


async def test_a_run_over_a_named_owners_jobs_is_the_admins_own(
    theirs: KeyedApi, ops: tuple[KeyedApi, str], owner: str, kind: str
):
    api, actor = ops
    mine, *job_ids = [(await one.create(kind)).job_id for one in (api, theirs, theirs, theirs)]
    by_filter = CancelJobsRequest(filter={"owner": owner, "kinds": [kind]}, request_id=uuid4().hex, reason="an outage")
    preview = CancelJobsRequest(validate_only=True)
    preview.MergeFrom(by_filter)
    shown = await api.jobs.CancelJobs(preview)
    assert (shown.matched_count, {one.owner for one in shown.sample}) == (3, {owner})
    answer = await api.jobs.CancelJobs(by_filter)
    assert (answer.matched_count, answer.job.owner) == (3, "operations")
    cancelled = await ended(api, answer.job.job_id)
    assert report(cancelled)["applied"] == 3
    assert {(await theirs.get(one)).state for one in job_ids} == {CANCELLED}
    assert (await api.get(mine)).state == QUEUED
    assert (await actors(theirs, job_ids[0]))[-1] == actor
    assert not (await theirs.jobs.ListJobs(rpc.ListJobsRequest(filter={"kinds": ["jobledger.bulk"]}))).jobs
    with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
        await theirs.get(answer.job.job_id)
    named = await api.jobs.DeleteJobs(DeleteJobsRequest(filter={"owner": owner}, job_ids=[*job_ids, mine]))
    assert named.matched_count == 3
    told = report(await ended(api, named.job.job_id))
    assert (told["applied"], [(one["job_id"], reason_of(one)) for one in told["refusals"]]) == (
        3,
        [(mine, "JOB_NOT_FOUND")],
    )
    with invalid("filter"):
        await api.jobs.DeleteJobs(DeleteJobsRequest(filter={"owner": owner}))
    with invalid("filter"):
        await api.jobs.DeleteJobs(DeleteJobsRequest(filter={"owner": owner, "kinds": [kind]}, job_ids=["a"]))


async def test_an_admin_limits_and_pauses_kinds_of_a_named_owner(
    theirs: KeyedApi, ops: tuple[KeyedApi, str], owner: str, kind: str
):
    api, actor = ops
    limits, own = LimitServiceStub(api.channel), LimitServiceStub(theirs.channel)
    of = {"owner": owner}
    scope = kind_scope(kind)
    await limits.SetLimit(SetLimitRequest(scope=scope, max_running=1, **of))
    assert [one.scope for one in (await own.ListLimits(ListLimitsRequest())).limits] == [scope]
    assert [one.scope for one in (await limits.ListLimits(ListLimitsRequest(**of))).limits] == [scope]
    assert scope not in [one.scope for one in (await limits.ListLimits(ListLimitsRequest())).limits]
    first, second = [(await theirs.create(kind)).job_id for _ in range(2)]
    assert [one.job_id for one in await theirs.claim(kind, 2)] == [first]
    await limits.DeleteLimit(DeleteLimitRequest(scope=scope, **of))
    await limits.PauseKind(PauseKindRequest(kind=kind, reason="an outage", **of))
    for listed in (
        await own.ListPausedKinds(ListPausedKindsRequest()),
        await limits.ListPausedKinds(ListPausedKindsRequest(**of)),
    ):
        assert [(one.kind, one.paused_by) for one in listed.paused_kinds] == [(kind, actor)]
    assert await theirs.claim(kind) == []
    assert (await limits.ResumeKind(ResumeKindRequest(kind=kind, **of))).resumed
    assert [one.job_id for one in await theirs.claim(kind, wait={"seconds": 60})] == [second]


async def first_of(method: Callable[[Message, Caller], Any], request: Message, caller: Caller) -> object:
    """Return the answer of a method, or its first message."""
    answer = method(request, caller)
    return await (anext(answer) if hasattr(answer, "__anext__") else answer)


@pytest.mark.guarantee("3b.11")
@pytest.mark.parametrize("role", [Role.CALLER, Role.WORKER])
@pytest.mark.parametrize("name", OWNED)
async def test_naming_another_owner_is_refused_before_anything_is_looked_up(name: str, role: Role):
    answers, method = OWNED[name]
    caller, told = Caller("mine", "test", roles=frozenset({role})), set()
    for owner in ("other", "nobody-has-this-name", "not an owner"):
        with pytest.raises(RoleMissing) as caught:
            await first_of(getattr(answers, name), naming(method, owner, "a"), caller)
        told.add((str(caught.value), *sorted(caught.value.metadata.items())))
    assert len(told) == 1


@pytest.mark.guarantee("3b.11")
async def test_a_refusal_says_the_same_whatever_there_is(theirs: KeyedApi, ops: tuple[KeyedApi, str], kind: str):
    job = await ops[0].create(kind)
    for name, (_, method) in OWNED.items():
        path, told = f"/{method.containing_service.full_name}/{name}", set()
        for named, job_id in (("operations", job.job_id), ("operations", "none"), ("nobody", "none"), ("?", "?")):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await theirs.channel.unary_stream(path)(naming(method, named, job_id).SerializeToString()).read()
            told.add((caught.value.code(), caught.value.details(), str(caught.value.trailing_metadata())))
        assert {code for code, *_ in told} == {grpc.StatusCode.PERMISSION_DENIED}, name
        assert len(told) == 1, name


async def test_the_log_names_the_owner_whose_job_an_admin_asked_for(
    keyed: Keyed, theirs: KeyedApi, ops: tuple[KeyedApi, str], owner: str, kind: str
):
    api, actor = ops
    with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
        await api.jobs.GetJob(rpc.GetJobRequest(job_id=kind, owner=owner))
    lines = [json.loads(line) for line in keyed.replicas[0].log.read_text().splitlines() if line.startswith("{")]
    [line] = [one for one in lines if one.get("job_id") == kind]
    assert (line["owner"], f"ops/{line['key_id']}") == (owner, actor)


async def test_the_sdk_and_the_command_line_act_for_an_owner(
    theirs: KeyedApi, ops: tuple[KeyedApi, str], owner: str, kind: str, capsys: pytest.CaptureFixture[str]
):
    api, _ = ops
    by_sdk, by_cli, *many = [(await theirs.create(kind)).job_id for _ in range(5)]

    def use() -> None:
        with JobClient(api.target, api_key=api.token) as client:
            assert client.get_job(by_sdk, owner=owner).owner == owner
            assert client.update_job(by_sdk, priority=9, owner=owner).priority == 9
            assert client.cancel_job(by_sdk, owner=owner).job.state == CANCELLED
            assert client.wait(by_sdk, owner=owner).state == CANCELLED
            assert client.retry_job(by_sdk, owner=owner).retry_count == 1
            assert [one.index for one in client.list_chunks(by_sdk, owner=owner)] == [0]
            assert len(list(client.list_events(by_sdk, owner=owner))) == 4
            client.delete_job(by_sdk, force=True, owner=owner)
            client.limits.set_limit(for_kind(kind), 7, owner=owner)
            assert [one.max_running for one in client.limits.list_limits(owner=owner)] == [7]
            client.limits.delete_limit(for_kind(kind), owner=owner)
        place = ("--target", api.target, "--api-key", api.token, "--owner", owner)
        for words in (
            ("get", by_cli),
            ("status", by_cli),
            ("chunks", by_cli),
            ("events", by_cli),
            ("update", by_cli, "--priority", "9"),
            ("pause", kind),
            ("paused",),
            ("resume", kind),
            ("limits", "set", "--kind", kind, "5"),
            ("limits", "list"),
            ("limits", "delete", "--kind", kind),
        ):
            assert run([*words, *place]) == 0, words
        assert run(["cancel", by_cli, "--wait", *place]) == 4
        assert run(["retry", by_cli, *place]) == 0
        assert run(["delete", by_cli, "--force", *place]) == 0
        capsys.readouterr()
        assert run(["cancel", *many, "--validate-only", *place]) == 0
        assert "3 jobs" in capsys.readouterr().out
        assert run(["cancel", *many, *place]) == 0
        assert run(["watch", *many, *place]) == 4
        assert run(["delete", "--kind", kind, "--yes", *place]) == 0
        assert run(["get", by_cli, *place]) == 66

    await asyncio.to_thread(use)
    assert not (await theirs.jobs.ListJobs(rpc.ListJobsRequest(filter={"kinds": [kind]}))).jobs
