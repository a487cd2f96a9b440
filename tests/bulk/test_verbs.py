"""CancelJobs, RetryJobs, DeleteJobs, UpdateJobs: what they mean and answer, and what their runs report."""

from datetime import UTC, datetime
from uuid import uuid4

import grpc
import pytest
from jobledger.v1.bulk_pb2 import CancelJobsRequest, DeleteJobsRequest, RetryJobsRequest, UpdateJobsRequest
from jobledger.v1.chunk_pb2 import HOLD_REASON_LIMIT
from jobledger.v1.event_pb2 import ChangeType
from jobledger.v1.job_pb2 import ChunksSummary, Job, Progress
from jobledger.v1.job_service_pb2 import UpdateJobRequest

from tests.bulk.runs import changes, create_many, ended, reason_of, report
from tests.support.api import Api
from tests.support.errors import invalid, refused
from tests.support.limits import each_scope, set_limit
from tests.support.states import CANCELLED, COMPLETED, FAILED, QUEUED, RUNNING

LATER = datetime(2100, 1, 1, tzinfo=UTC)
REQUESTS = [CancelJobsRequest, RetryJobsRequest, DeleteJobsRequest]


async def cancel(api: Api, **fields: object):
    return await api.jobs.CancelJobs(CancelJobsRequest(**fields))


async def test_a_filter_means_the_jobs_that_match_it_and_no_others(api: Api, kind: str):
    meant = await create_many(api, kind, 60, labels={"site": "a"}, item_count=3, chunk_size=1)
    [other] = await create_many(api, kind, 1, labels={"site": "b"})
    answer = await cancel(api, filter={"kinds": [kind], "labels": {"site": "a"}}, reason="wrong site")
    assert (answer.matched_count, answer.matched_is_lower_bound, len(answer.sample)) == (60, False, 10)
    assert (answer.job.kind, answer.job.state, answer.job.owner) == ("jobledger.bulk", QUEUED, "default")
    run = await ended(api, answer.job.job_id)
    assert (run.state, run.progress.percent) == (COMPLETED, 100)
    assert report(run) == {"applied": 60, "unchanged": 0, "refused": 0, "refusals": []}
    assert {job.state for job in (await api.batch_get(job_ids=meant)).jobs} == {CANCELLED}
    assert (await api.get(other)).state == QUEUED
    [change] = await changes(api, meant[7], ChangeType.CHANGE_TYPE_CANCEL_REQUESTED)
    assert (change.actor, change.reason) == ("caller", f"wrong site (by job {run.job_id})")


async def test_named_jobs_are_meant_once_each_and_refusals_stop_nothing(api: Api, kind: str):
    queued, running = await create_many(api, kind, 1), (await api.job_in(RUNNING, kind + "r")).job_id
    failed = (await api.job_in(FAILED, kind + "f")).job_id
    missing = uuid4().hex
    answer = await api.jobs.RetryJobs(RetryJobsRequest(job_ids=[*queued, missing, running, failed, failed]))
    assert (answer.matched_count, answer.job.progress.items_total) == (3, 4)
    run = await ended(api, answer.job.job_id)
    reported = report(run)
    assert (run.state, reported["applied"], reported["unchanged"], reported["refused"]) == (COMPLETED, 1, 0, 3)
    assert [(one["job_id"], reason_of(one)) for one in reported["refusals"]] == [
        (queued[0], "JOB_NOT_ENDED"),
        (missing, "JOB_NOT_FOUND"),
        (running, "JOB_NOT_ENDED"),
    ]
    assert (await api.get(failed)).retry_count == 1


async def test_a_validate_only_counts_and_shows_and_does_nothing(api: Api, kind: str):
    job_ids = await create_many(api, kind, 12, display_name="one of many", labels={"a": "b"})
    by_filter = await cancel(api, filter={"kinds": [kind]}, validate_only=True)
    by_id = await cancel(api, job_ids=job_ids, validate_only=True)
    for answer in (by_filter, by_id):
        assert (answer.matched_count, len(answer.sample), answer.HasField("job")) == (12, 10, False)
        one = answer.sample[0]
        status = Job(job_id=one.job_id, kind=kind, display_name="one of many", state=QUEUED, revision=1)
        status.owner, status.uid = one.owner, one.uid
        status.chunks_summary.CopyFrom(ChunksSummary(total=1, pending=1))
        status.progress.CopyFrom(Progress(percent=0))
        status.update_time.CopyFrom(one.update_time)
        assert one == status
        assert one.job_id in job_ids
    listed = await api.list_jobs(filter={"kinds": [kind]}, page_size=50)
    assert [job.revision for job in listed.jobs] == [1] * 12


async def test_priorities_reach_the_jobs_and_what_does_not_change_is_counted(api: Api, kind: str):
    [changed] = await create_many(api, kind, 1)
    [same] = await create_many(api, kind, 1, priority=9)
    over = (await api.job_in(CANCELLED, kind + "c")).job_id
    answer = await api.jobs.UpdateJobs(
        UpdateJobsRequest(filter={"kinds": [kind, kind + "c"]}, update_mask={"paths": ["priority"]}, priority=9)
    )
    reported = report(await ended(api, answer.job.job_id))
    assert (reported["applied"], reported["unchanged"], reported["refused"]) == (1, 1, 1)
    assert [(one["job_id"], reason_of(one)) for one in reported["refusals"]] == [(over, "JOB_ENDED")]
    assert ((await api.get(changed)).priority, (await api.get(same)).revision) == (9, 1)
    [change] = await changes(api, changed, ChangeType.CHANGE_TYPE_UPDATED)
    assert change.reason == f"priority; by job {answer.job.job_id}"


async def test_an_update_changes_what_its_mask_names_and_a_job_that_refuses_it_is_counted(api: Api, kind: str):
    plain, full, running = (
        (await create_many(api, kind, 1, labels={"Team.A": "old", "kept": "1"}, display_name="n"))[0],
        (await create_many(api, kind, 1, labels={f"n{n}": "" for n in range(64)}))[0],
        (await api.job_in(RUNNING, kind + "r", labels={"gone": "1"})).job_id,
    )
    changed = UpdateJobsRequest(
        filter={"kinds": [kind, kind + "r"]},
        update_mask={"paths": ["labels.Team.A", "labels.gone", "display_name", "expire_time"]},
        labels={"Team.A": "new", "not named": ""},
        expire_time=LATER,
        reason="moved",
    )
    with invalid('labels["not named"]'):
        await api.jobs.UpdateJobs(changed)
    del changed.labels["not named"]
    reserved = UpdateJobsRequest(job_ids=[plain], update_mask={"paths": ["labels.jobledger.method"]})
    with invalid("update_mask"):
        await api.jobs.UpdateJobs(reserved)
    run = await ended(api, (await api.jobs.UpdateJobs(changed)).job.job_id)
    reported = report(run)
    assert (reported["applied"], reported["unchanged"], reported["refused"]) == (2, 0, 1)
    assert [(one["job_id"], reason_of(one)) for one in reported["refusals"]] == [(full, "INVALID_FIELD")]
    update = UpdateJobRequest(job_id=run.job_id, update_mask={"paths": ["labels"]}, labels={"mine": "1"})
    assert dict((await api.jobs.UpdateJob(update)).job.labels) == {"jobledger.method": "UpdateJobs", "mine": "1"}
    jobs = [await api.get(one) for one in (plain, running, full)]
    assert [dict(one.labels) for one in jobs[:2]] == [{"Team.A": "new", "kept": "1"}, {"Team.A": "new"}]
    assert len(jobs[2].labels) == 64
    assert [one.expire_time.ToDatetime(UTC) for one in jobs[:2]] == [LATER] * 2
    assert (jobs[0].display_name, jobs[2].HasField("expire_time")) == ("", False)
    [change] = await changes(api, plain, ChangeType.CHANGE_TYPE_UPDATED)
    assert change.reason == f"display_name, expire_time, labels.Team.A, labels.gone; moved (by job {run.job_id})"


async def test_a_new_time_to_begin_is_for_jobs_that_wait(api: Api, kind: str):
    [waiting] = await create_many(api, kind, 1)
    running = (await api.job_in(RUNNING, kind + "r")).job_id
    asked = UpdateJobsRequest(
        job_ids=[waiting, running], update_mask={"paths": ["schedule_time", "labels"]}, schedule_time=LATER
    )
    reported = report(await ended(api, (await api.jobs.UpdateJobs(asked)).job.job_id))
    assert (reported["applied"], [(one["job_id"], reason_of(one)) for one in reported["refusals"]]) == (
        1,
        [(running, "JOB_STARTED")],
    )
    assert (await api.get(waiting)).schedule_time.ToDatetime(UTC) == LATER
    assert await api.claim(kind) == []


async def test_jobs_whose_time_is_removed_take_the_slots_of_their_new_labels(api: Api, kind: str):
    await set_limit(api, each_scope(kind), 1)
    fields = {"schedule_time": LATER, "limited_labels": [kind]}
    jobs = [(await api.create(kind, labels={kind: user}, **fields)).job_id for user in ("ann", "bob")]
    asked = UpdateJobsRequest(
        job_ids=jobs, update_mask={"paths": ["schedule_time", f"labels.{kind}"]}, labels={kind: "eve"}
    )
    assert report(await ended(api, (await api.jobs.UpdateJobs(asked)).job.job_id))["applied"] == 2
    shown = [await api.get(job_id) for job_id in jobs]
    assert [[hold.reason for hold in job.holds] for job in shown] == [[], [HOLD_REASON_LIMIT]]
    assert [one.job_id for one in await api.claim(kind, 9)] == jobs[:1]


async def test_the_reason_of_a_deletion_is_in_the_trail(api: Api, kind: str):
    job = await api.job_in(CANCELLED, kind)
    asked = DeleteJobsRequest(job_ids=[job.job_id], reason="asked for by its user")
    run = await ended(api, (await api.jobs.DeleteJobs(asked)).job.job_id)
    [change] = await changes(api, job.job_id, ChangeType.CHANGE_TYPE_DELETED)
    assert change.reason == f"asked for by its user (by job {run.job_id})"


async def test_deletion_takes_ended_jobs_and_with_force_all(api: Api, kind: str):
    queued = await api.create(kind)
    over = (await api.job_in(CANCELLED, kind)).job_id
    run = await ended(api, (await api.jobs.DeleteJobs(DeleteJobsRequest(filter={"kinds": [kind]}))).job.job_id)
    assert (report(run)["applied"], [(one["job_id"], one["uid"]) for one in report(run)["refusals"]]) == (
        1,
        [(queued.job_id, queued.uid)],
    )
    with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
        await api.get(over)
    forced = DeleteJobsRequest(filter={"kinds": [kind]}, force=True)
    assert report(await ended(api, (await api.jobs.DeleteJobs(forced)).job.job_id))["applied"] == 1
    assert not (await api.list_jobs(filter={"kinds": [kind]})).jobs


async def test_the_service_own_jobs_are_never_meant(api: Api, kind: str):
    await create_many(api, kind, 1)
    run = await ended(api, (await cancel(api, filter={"kinds": [kind]})).job.job_id)
    until = {"create_time": {"end_time": datetime.now(UTC), "start_time": run.create_time}}
    everything = await api.jobs.DeleteJobs(DeleteJobsRequest(filter=until, validate_only=True))
    assert run.job_id not in [job.job_id for job in everything.sample]
    named = await ended(api, (await api.jobs.DeleteJobs(DeleteJobsRequest(job_ids=[run.job_id]))).job.job_id)
    assert [reason_of(one) for one in report(named)["refusals"]] == ["INVALID_FIELD"]
    assert (await api.get(run.job_id)).state == COMPLETED


@pytest.mark.parametrize("request_type", REQUESTS)
async def test_requests_that_do_not_report_which_jobs_are_refused(api: Api, kind: str, request_type: type):
    call = getattr(api.jobs, request_type.__name__.removesuffix("Request"))
    everything = {"filter": {"create_time": {"end_time": datetime.now(UTC)}}}
    assert (await call(request_type(**everything, validate_only=True))).matched_count >= 0
    with invalid("filter"):
        await call(request_type())
    with invalid("filter"):
        await call(request_type(filter={}))
    with invalid("filter"):
        await call(request_type(filter={"min_priority": 0}))
    with invalid("filter"):
        await call(request_type(filter={"kinds": [kind]}, job_ids=["a"]))
    with invalid("filter.kinds[1]"):
        await call(request_type(filter={"kinds": [kind, "jobledger.bulk"]}))
    with invalid("job_ids[1]", "request_id"):
        await call(request_type(job_ids=["a", "-"], request_id="x" * 129))
    with invalid("job_ids"):
        await call(request_type(job_ids=["a"] * 10_001))


async def test_a_priority_is_required_and_a_reason_is_bounded(api: Api, kind: str):
    with invalid("update_mask"):
        await api.jobs.UpdateJobs(UpdateJobsRequest(job_ids=["a"], priority=1))
    priority = {"update_mask": {"paths": ["priority"]}}
    with invalid("priority"):
        await api.jobs.UpdateJobs(UpdateJobsRequest(job_ids=["a"], **priority))
    with invalid("priority", "reason"):
        await api.jobs.UpdateJobs(UpdateJobsRequest(job_ids=["a"], priority=11, reason="x" * 1_025, **priority))
    with invalid("reason"):
        await api.jobs.DeleteJobs(DeleteJobsRequest(job_ids=["a"], reason="x" * 1_025))
    with invalid("reason", "grace_period"):
        await cancel(api, job_ids=["a"], reason="x" * 1_025, grace_period={"seconds": -1})


async def test_a_repeated_request_begins_one_run(api: Api, kind: str):
    await create_many(api, kind, 1)
    same = {"filter": {"kinds": [kind]}, "request_id": uuid4().hex}
    first, second = await cancel(api, **same), await cancel(api, **same)
    assert first.job.job_id == second.job.job_id
    for other in (cancel(api, **same, force=True), api.jobs.RetryJobs(RetryJobsRequest(**same))):
        with refused(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED"):
            await other
    assert (await ended(api, first.job.job_id)).state == COMPLETED


async def test_more_names_than_a_chunk_holds_are_one_run_with_one_report(api: Api, kind: str):
    there = await create_many(api, kind, 520)
    answer = await cancel(api, job_ids=[*there, *(f"{kind}-{n}" for n in range(600))])
    run = await ended(api, answer.job.job_id)
    reported = report(run)
    assert (run.chunks_summary.completed, run.progress.items_completed) == (3, 1_120)
    assert (reported["applied"], reported["refused"], len(reported["refusals"])) == (520, 600, 100)
