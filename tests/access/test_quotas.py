"""Quotas of owners: what one may have at once is exact over replicas, for whatever makes jobs."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import cycle

import grpc
import pytest
from jobledger.v1.admin_service_pb2 import (
    DeleteQuotaRequest,
    GetQuotaRequest,
    GetUsageRequest,
    ListQuotasRequest,
    Quota,
    SetQuotaRequest,
)
from jobledger.v1.admin_service_pb2_grpc import AdminServiceStub
from jobledger.v1.bulk_pb2 import RetryJobsRequest
from jobledger.v1.error_reason_pb2 import ErrorReason
from jobledger.v1.job_service_pb2 import CreateJobRequest, RetryJobRequest
from jobledger.v1.worker_service_pb2 import (
    ChunkCompletion,
    ClaimedChunk,
    CompleteChunksRequest,
    HeartbeatRequest,
    HeartbeatResult,
    LeaseReport,
)
from jobledger_client.cli._main import run

from tests.access.conftest import As, Keyed
from tests.access.test_limits import EXHAUSTED, refusals
from tests.bulk.runs import ended, reason_of, report
from tests.conftest import StartServer
from tests.contract.test_batch_create import create as create_batch
from tests.contract.test_batch_create import reasons
from tests.imports.test_import import past, send
from tests.support.api import Api, fresh_kind
from tests.support.errors import invalid, refused
from tests.support.keys import ADMIN, CALLER, WORKER, KeyedApi
from tests.support.pages import pages_of
from tests.support.states import FAILED, OK, QUEUED, REFUSED

EXCEEDED, REASON = "QUOTA_EXCEEDED", ErrorReason.ERROR_REASON_QUOTA_EXCEEDED


@dataclass
class Tenant:
    """An owner, at each replica in turn, and the admin who sets its quota."""

    owner: str
    admin: KeyedApi
    apis: list[KeyedApi]
    kind: str = field(default_factory=fresh_kind)

    async def allow(self, **bounds: object) -> Quota:
        """Set the quota."""
        request = SetQuotaRequest(owner=self.owner, **bounds)
        return (await self.admin.admin.SetQuota(request)).quota

    async def quota(self) -> Quota:
        """Return the quota with its use."""
        return (await self.admin.admin.GetQuota(GetQuotaRequest(owner=self.owner))).quota

    async def used(self) -> tuple[int, int]:
        """Return the unfinished and the stored jobs."""
        quota = await self.quota()
        return quota.unfinished_job_count, quota.stored_job_count


@pytest.fixture
async def tenant(keyed: Keyed, admin: KeyedApi, as_holder: As) -> Tenant:
    owner = fresh_kind()[-40:]
    token = (await admin.make(ADMIN, CALLER, WORKER, owner=owner)).token
    return Tenant(owner, admin, [as_holder(server, token) for server in keyed.replicas])


@pytest.mark.guarantee("3b.13")
async def test_callers_at_all_replicas_at_once_never_pass_the_bound(tenant: Tenant):
    await tenant.allow(max_unfinished_jobs=20, max_stored_jobs=1_000)
    apis = cycle(tenant.apis)
    result = await refusals([next(apis).create(tenant.kind) for _ in range(60)])
    assert [(one.code, one.reason, one.subjects) for one in result] == [
        (EXHAUSTED, EXCEEDED, [f"owner:{tenant.owner}"])
    ] * 40
    bound = {"owner": tenant.owner, "quota": "max_unfinished_jobs", "limit": "20", "value": "20"}
    assert [(one.metadata, one.quotas) for one in result] == [(bound, [("max_unfinished_jobs", 20)])] * 40
    assert all(one.retry_delay > 0 for one in result)
    assert await tenant.used() == (20, 20)
    claimed = await tenant.apis[0].claim(tenant.kind, 5)
    with refused(EXHAUSTED, EXCEEDED):  # a RUNNING job is unfinished too
        await tenant.apis[0].create(tenant.kind)
    await tenant.apis[0].complete(*claimed)
    assert len(await refusals([next(apis).create(tenant.kind) for _ in range(15)])) == 10
    assert await tenant.used() == (20, 25)


async def test_stored_jobs_are_bounded_until_one_is_deleted(tenant: Tenant):
    api = tenant.apis[0]
    jobs = [await api.create(tenant.kind) for _ in range(3)]
    quota = await tenant.allow(max_stored_jobs=2)  # it has more than that already
    assert (quota.stored_job_count, quota.max_stored_jobs, quota.HasField("max_unfinished_jobs")) == (3, 2, False)
    await api.cancel(jobs[0].job_id)
    with refused(EXHAUSTED, EXCEEDED) as refusal:
        await api.create(tenant.kind)
    assert (refusal.metadata["quota"], refusal.metadata["value"]) == ("max_stored_jobs", "3")
    assert refusal.retry_delay is None, "no time makes room"
    await asyncio.gather(*(api.delete(one.job_id, force=True) for one in jobs[:2]))
    await api.create(tenant.kind)
    assert await tenant.used() == (2, 2)


async def test_each_job_of_a_batch_has_its_own_outcome_and_a_validate_only_has_the_same(tenant: Tenant):
    await tenant.allow(max_unfinished_jobs=3)
    api, requests = tenant.apis[0], [CreateJobRequest(kind=tenant.kind)] * 5
    checked = await create_batch(api, *requests, validate_only=True)
    assert reasons(checked) == [""] * 5, "one by one they would be created"
    assert reasons(await create_batch(api, *requests)) == ["", "", "", EXCEEDED, EXCEEDED]
    for one in await create_batch(api, *requests, validate_only=True):
        assert one.error.metadata["quota"] == "max_unfinished_jobs"
    with refused(EXHAUSTED, EXCEEDED):
        await api.create(tenant.kind, validate_only=True)
    assert await tenant.used() == (3, 3)


async def test_a_repeated_request_is_answered_at_the_bound(tenant: Tenant):
    await tenant.allow(max_unfinished_jobs=1)
    first = await tenant.apis[0].create(tenant.kind, request_id="once")
    again = await tenant.apis[-1].create(tenant.kind, request_id="once")
    assert again.job_id == first.job_id


async def test_a_retried_job_is_unfinished_again(tenant: Tenant):
    api = tenant.apis[0]
    failed = await api.job_in(FAILED, tenant.kind)
    await tenant.allow(max_unfinished_jobs=1, max_stored_jobs=1)
    retry = RetryJobRequest(job_id=failed.job_id)
    await api.jobs.RetryJob(retry)  # it is stored already
    await api.fail(*await api.claim(tenant.kind), not_retryable=True)
    await tenant.allow(max_unfinished_jobs=0)
    with refused(EXHAUSTED, EXCEEDED) as refusal:
        await api.jobs.RetryJob(retry)
    assert refusal.retry_delay is None, "no job ever ends that would make room"
    assert (await api.get(failed.job_id)).state == FAILED
    assert await tenant.used() == (0, 1)


async def test_a_bulk_retry_counts_the_jobs_that_the_quota_refuses_and_goes_on(tenant: Tenant):
    api = tenant.apis[0]
    jobs = [await api.job_in(FAILED, tenant.kind) for _ in range(5)]
    await tenant.allow(max_unfinished_jobs=2)
    run = (await api.jobs.RetryJobs(RetryJobsRequest(filter={"kinds": [tenant.kind]}))).job
    result = report(await ended(api, run.job_id))
    assert (result["applied"], result["refused"]) == (2, 3)
    assert {reason_of(one) for one in result["refusals"]} == {EXCEEDED}
    states = Counter([(await api.get(one.job_id)).state for one in jobs])
    assert states == {QUEUED: 2, FAILED: 3}
    assert await tenant.used() == (2, 5), "the run itself does not count"


async def test_an_import_refuses_each_job_beyond_the_bound(tenant: Tenant):
    await tenant.allow(max_unfinished_jobs=1, max_stored_jobs=3)
    states = [FAILED, QUEUED, QUEUED, FAILED, FAILED]
    answer = await send(tenant.apis[0], [past(f"i{n}", tenant.kind, state) for n, state in enumerate(states)])
    assert (answer.imported, answer.refused) == (3, 2)
    assert [(one.job_id, one.error.reason) for one in answer.refusals] == [("i2", REASON), ("i4", REASON)]
    assert await tenant.used() == (1, 3)


def sized(name: str, size: int | None) -> dict[str, object]:
    """Return a report of one artifact of a size, None for an unknown one."""
    return {"artifacts": {name: {"uri": "s3://b/x", **({} if size is None else {"size_bytes": size})}}}


async def reported(api: Api, *reports: tuple[ClaimedChunk, dict[str, object]]) -> list[HeartbeatResult]:
    """Return the outcomes of reports on leases, in one call."""
    leases = [LeaseReport(lease_token=chunk.lease.token, progress=progress) for chunk, progress in reports]
    return list((await api.work.Heartbeat(HeartbeatRequest(reports=leases))).results)


def outcomes(results: list[HeartbeatResult]) -> list[tuple[int, str]]:
    return [(result.status, ErrorReason.Name(result.error.reason)[len("ERROR_REASON_") :]) for result in results]


async def test_a_report_with_too_many_bytes_of_artifacts_is_refused_alone(tenant: Tenant, admin: KeyedApi, kind: str):
    await tenant.allow(max_artifact_bytes=1_000)
    api, done = tenant.apis[0], (OK, "UNSPECIFIED")
    for other in (api, admin):
        await other.create(tenant.kind if other is api else kind, item_count=4, chunk_size=1)
    first, second, third, fourth = await api.claim(tenant.kind, 4)
    results = await reported(
        api, (first, sized("a", 600)), (second, sized("a", 401)), (third, {"message": "on"}), (fourth, sized("a", None))
    )
    assert outcomes(results) == [done, (REFUSED, EXCEEDED), done, done]
    metadata = {"owner": tenant.owner, "quota": "max_artifact_bytes", "limit": "1000", "value": "600"}
    assert dict(results[1].error.metadata) == metadata
    assert outcomes(await reported(api, (second, sized("a", 400)))) == [done], "exactly the bound"
    assert (await tenant.quota()).artifact_bytes == 1_000
    assert outcomes(await reported(api, (first, sized("a", 601)))) == [(REFUSED, EXCEEDED)], "a larger replacement"
    assert outcomes(await reported(api, (first, sized("a", 100)), (third, sized("b", 500)))) == [done, done]

    completion = ChunkCompletion(lease_token=fourth.lease.token, progress=sized("c", 1))
    completed = await api.work.CompleteChunks(CompleteChunksRequest(completions=[completion]))
    assert outcomes(completed.results) == [(REFUSED, EXCEEDED)]
    assert [result.status for result in await api.complete(fourth)] == [OK], "the lease is still held"

    held, *_ = await admin.claim(kind, 1)
    assert outcomes(await reported(admin, (held, sized("a", 10**12)))) == [done], "another owner has a bound of its own"
    await api.delete(first.job_id, force=True)
    assert (await tenant.quota()).artifact_bytes == 0


async def test_artifacts_reported_at_all_replicas_at_once_never_pass_the_bound(tenant: Tenant):
    await tenant.allow(max_artifact_bytes=20)
    for _ in range(4):
        await tenant.apis[0].create(tenant.kind, item_count=10, chunk_size=1)
    claimed, apis = await tenant.apis[0].claim(tenant.kind, 40), cycle(tenant.apis)
    results = await asyncio.gather(*(reported(next(apis), (chunk, sized("a", 1))) for chunk in claimed))
    statuses = Counter(result.status for [result] in results)
    assert statuses == {OK: 20, REFUSED: 20}
    assert (await tenant.quota()).artifact_bytes == 20


async def test_an_import_refuses_each_job_with_too_many_bytes(tenant: Tenant):
    await tenant.allow(max_artifact_bytes=10)
    artifacts = {"a": {"uri": "s3://b/x", "size_bytes": 6}}
    jobs = [past("i0", tenant.kind, artifacts=artifacts), past("i1", tenant.kind, artifacts=artifacts)]
    answer = await send(tenant.apis[0], [*jobs, past("i2", tenant.kind)])
    assert (answer.imported, [(refusal.job_id, refusal.error.reason) for refusal in answer.refusals]) == (
        2,
        [("i1", REASON)],
    )
    assert (await tenant.quota()).artifact_bytes == 6


async def test_watches_are_bounded_at_each_replica(tenant: Tenant):
    await tenant.allow(max_watches=2)
    for api in tenant.apis:
        watches = [api.watch_jobs(tenant.kind) for _ in range(2)]
        for watch in watches:
            await watch.message()
        with refused(EXHAUSTED, EXCEEDED) as refusal:
            await api.watch_jobs(tenant.kind).message()
        assert (refusal.metadata["quota"], refusal.metadata["value"]) == ("max_watches", "2")
        assert refusal.quotas == [("max_watches", 2)]
    assert (await tenant.quota()).watch_count == 2
    await tenant.allow(max_watches=3)
    await tenant.apis[0].watch_jobs(tenant.kind).message()


async def test_other_owners_are_untouched_by_a_quota(tenant: Tenant, admin: KeyedApi, kind: str):
    await tenant.allow(max_unfinished_jobs=0, max_stored_jobs=0, max_watches=0)
    with refused(EXHAUSTED, EXCEEDED):
        await tenant.apis[0].create(tenant.kind)
    with refused(EXHAUSTED, EXCEEDED):
        await tenant.apis[0].watch_jobs(tenant.kind).message()
    await admin.create(kind)
    await admin.watch_jobs(kind).message()


async def test_quotas_are_listed_in_pages_and_deleted(tenant: Tenant):
    admin = tenant.admin.admin
    owners = sorted(f"{tenant.owner[:30]}.{n}" for n in range(5))
    for owner in owners:
        await admin.SetQuota(SetQuotaRequest(owner=owner, max_stored_jobs=5, reason=f"why {owner}"))
    pages = [page async for page in pages_of(admin.ListQuotas, ListQuotasRequest(page_size=2))]
    assert max(len(page.quotas) for page in pages) <= 2
    seen = [quota for page in pages for quota in page.quotas]
    assert [one.owner for one in seen] == sorted(one.owner for one in seen)
    mine = [one for one in seen if one.owner in owners]
    assert [(one.owner, one.max_stored_jobs, one.reason) for one in mine] == [(o, 5, f"why {o}") for o in owners]
    assert all(one.set_by.startswith("first/") and one.set_time.seconds for one in mine)
    assert mine[0].default_fields == ["max_unfinished_jobs", "max_watches", "max_artifact_bytes"]
    deletions = [(await admin.DeleteQuota(DeleteQuotaRequest(owner=owner))).deleted for owner in (*owners, owners[0])]
    assert deletions == [True] * 5 + [False]
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
        await admin.ListQuotas(ListQuotasRequest(page_token="x"))


async def test_a_quota_that_cannot_be_is_refused(tenant: Tenant):
    wrong = {"max_unfinished_jobs": -1, "max_stored_jobs": 10**12 + 1, "max_watches": -1, "reason": "x" * 1_025}
    with invalid("owner", "max_unfinished_jobs", "max_stored_jobs", "max_watches", "max_artifact_bytes", "reason"):
        await tenant.admin.admin.SetQuota(SetQuotaRequest(owner="/", max_artifact_bytes=10**18 + 1, **wrong))
    with invalid("owner"):
        await tenant.admin.admin.GetQuota(GetQuotaRequest(owner="/"))


async def test_usage_of_an_owner_shows_its_quota(tenant: Tenant):
    await tenant.apis[0].create(tenant.kind)
    await tenant.allow(max_unfinished_jobs=7)
    admin = tenant.admin.admin
    quota = (await admin.GetUsage(GetUsageRequest(owner=tenant.owner))).quota
    assert (quota.unfinished_job_count, quota.max_unfinished_jobs) == (1, 7)
    assert not (await admin.GetUsage(GetUsageRequest())).HasField("quota")


async def test_defaults_hold_for_owners_without_a_quota(start_server: StartServer, connect: Callable[..., Api]):
    server = start_server(
        unfinished_jobs_per_owner="2", stored_jobs_per_owner="3", watches_per_owner="1", artifact_bytes_per_owner="4"
    )
    api, kind = connect(server), fresh_kind()
    admin = AdminServiceStub(api.channel)
    for _ in range(2):
        await api.create(kind)
    with refused(EXHAUSTED, EXCEEDED) as refusal:
        await api.create(kind)
    assert refusal.subjects == ["owner:default"]
    await api.watch_jobs(kind).message()
    with refused(EXHAUSTED, EXCEEDED):
        await api.watch_jobs(kind).message()
    quota = (await admin.SetQuota(SetQuotaRequest(max_unfinished_jobs=9))).quota
    assert (quota.max_unfinished_jobs, quota.max_stored_jobs, quota.max_watches) == (9, 3, 1)
    assert quota.max_artifact_bytes == 4
    assert quota.default_fields == ["max_stored_jobs", "max_watches", "max_artifact_bytes"]
    [held] = await api.claim(kind)
    assert outcomes(await reported(api, (held, sized("a", 5)))) == [(REFUSED, EXCEEDED)]
    await api.create(kind)
    with refused(EXHAUSTED, EXCEEDED) as refusal:
        await api.create(kind)
    assert refusal.metadata["quota"] == "max_stored_jobs"
    await admin.DeleteQuota(DeleteQuotaRequest())
    with refused(EXHAUSTED, EXCEEDED) as refusal:
        await api.cancel((await api.create(kind)).job_id)
    assert refusal.metadata["quota"] == "max_stored_jobs"


def test_the_command_line_sets_and_shows_quotas(
    keyed: Keyed, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("JOBLEDGER_TARGET", keyed.replicas[0].target)
    monkeypatch.setenv("JOBLEDGER_API_KEY", keyed.token)
    owner = fresh_kind()[-40:]
    bounds = ["--unfinished-jobs", "10", "--watches", "3", "--artifact-bytes", "2048"]
    assert run(["quotas", "set", owner, *bounds, "--reason", "a trial"]) == 0
    for arguments in (["quotas", "get", owner], ["quotas", "list", "--all"], ["usage", "--owner", owner]):
        capsys.readouterr()
        assert run(arguments) == 0
        shown = capsys.readouterr().out
        assert all(text in shown for text in ("0 of 10", "0 of 3", "0 B of 2.0 KiB", "a trial")), shown
    assert run(["quotas", "delete", owner]) == 0
    assert "removed" in capsys.readouterr().out
    assert run(["quotas", "set", owner, "--stored-jobs=-1"]) == 65
    assert "max_stored_jobs" in capsys.readouterr().err
