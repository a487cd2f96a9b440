"""schedule_time: no worker claims a chunk before it, and then the job waits for its slots as any other."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from jobledger.v1.chunk_pb2 import HOLD_REASON_LIMIT, HOLD_REASON_SCHEDULE
from jobledger.v1.event_pb2 import (
    CHANGE_TYPE_CLAIMED,
    CHANGE_TYPE_CREATED,
    CHANGE_TYPE_SCHEDULE_REACHED,
    CHANGE_TYPE_UPDATED,
)
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import BatchCreateJobsRequest, CreateJobRequest, UpdateJobRequest
from jobledger.v1.limit_service_pb2 import Limit
from jobledger.v1.stats_pb2 import HeldChunks

from tests.support.api import Api
from tests.support.errors import invalid, refused
from tests.support.limits import each_scope, kind_scope, label_scope, limit, set_limit
from tests.support.server import Server
from tests.support.states import CANCELLED, QUEUED, RUNNING

LONG = timedelta(seconds=30)


def later(**difference: float) -> datetime:
    return datetime.now(UTC) + timedelta(**(difference or {"hours": 1}))


async def scheduled(api: Api, kind: str, time: datetime | None = None, **fields: object) -> Job:
    return await api.create(kind, schedule_time=time or later(), **fields)


async def reschedule(api: Api, job_id: str, time: datetime | None) -> Job:
    """Give a job another schedule_time; None removes it."""
    mask = FieldMask(paths=["schedule_time"])
    request = UpdateJobRequest(job_id=job_id, update_mask=mask, schedule_time=time)
    return (await api.jobs.UpdateJob(request)).job


@pytest.mark.guarantee("3c.9")
async def test_a_job_is_not_claimed_before_its_time_and_says_so(
    api: Api, kind: str, connect: Callable[[Server], Api], replicas: list[Server]
):
    time = later()
    job = await scheduled(api, kind, time, item_count=2, chunk_size=1)
    plain = await api.create(kind)
    assert job.schedule_time.ToDatetime(UTC) == time
    other = connect(replicas[-1])
    assert [one.job_id for one in await other.claim(kind, 9)] == [plain.job_id]
    shown = await other.get(job.job_id)
    assert shown.state == QUEUED
    assert [(hold.reason, hold.end_time) for hold in shown.holds] == [(HOLD_REASON_SCHEDULE, job.schedule_time)]
    assert [list(chunk.holds) for chunk in shown.chunks] == [[HOLD_REASON_SCHEDULE]] * 2
    stats = await other.stats(kinds=[kind])
    assert list(stats.total.now.chunks_held) == [HeldChunks(reason=HOLD_REASON_SCHEDULE, chunk_count=2)]


@pytest.mark.guarantee("3c.9")
async def test_a_waiting_claim_gets_the_job_when_its_time_comes(
    api: Api, kind: str, connect: Callable[[Server], Api], replicas: list[Server]
):
    waiting = asyncio.create_task(connect(replicas[-1]).claim(kind, wait=LONG))
    job = await scheduled(api, kind, later(seconds=0.5))
    [claimed] = await waiting
    shown = await api.get(job.job_id)
    assert claimed.job_id == job.job_id
    assert claimed.chunk.start_time.ToNanoseconds() >= job.schedule_time.ToNanoseconds()
    assert (shown.state, list(shown.holds), shown.schedule_time) == (RUNNING, [], job.schedule_time)
    events = (await api.list_events(job.job_id)).events
    assert CHANGE_TYPE_SCHEDULE_REACHED in [change.type for event in events for change in event.changes]


async def test_a_time_that_has_come_is_no_reason_to_wait(api: Api, kind: str):
    job = await scheduled(api, kind, datetime(2001, 1, 1, tzinfo=UTC))
    assert (list(job.holds), job.HasField("schedule_time")) == ([], True)
    assert len(await api.claim(kind)) == 1


async def test_the_time_changes_until_a_chunk_is_claimed(api: Api, kind: str):
    job = await scheduled(api, kind)
    time = later(hours=2)
    moved = await reschedule(api, job.job_id, time)
    assert (moved.schedule_time.ToDatetime(UTC), moved.holds[0].end_time.ToDatetime(UTC)) == (time, time)
    assert not (await reschedule(api, job.job_id, None)).HasField("schedule_time")
    [claimed] = await api.claim(kind)
    assert claimed.job_id == job.job_id
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "JOB_STARTED"):
        await reschedule(api, job.job_id, time)


@pytest.mark.parametrize("time", [None, datetime(2001, 1, 1, tzinfo=UTC)])
async def test_a_job_whose_time_is_removed_or_past_begins_in_that_commit(
    api: Api, kind: str, connect: Callable[[Server], Api], replicas: list[Server], time: datetime | None
):
    job, other = await scheduled(api, kind), await scheduled(api, kind)
    waiting = asyncio.create_task(connect(replicas[-1]).claim(kind, wait=LONG))
    changed = await reschedule(api, job.job_id, time)
    assert (list(changed.holds), changed.HasField("schedule_time")) == ([], time is not None)
    [claimed] = await waiting
    assert (claimed.job_id, await api.claim(kind, 9)) == (job.job_id, [])
    assert [hold.reason for hold in (await api.get(other.job_id)).holds] == [HOLD_REASON_SCHEDULE]
    events = (await api.list_events(job.job_id)).events
    assert [change.type for event in events for change in event.changes] == [
        CHANGE_TYPE_CREATED,
        CHANGE_TYPE_UPDATED,
        CHANGE_TYPE_CLAIMED,
    ]


async def test_a_job_that_begins_with_another_label_takes_the_slot_of_its_new_value(api: Api, kind: str):
    await set_limit(api, each_scope(kind), 1)
    labels = {"labels": {kind: "ann"}, "limited_labels": [kind]}
    job, running = await scheduled(api, kind, **labels), await api.create(kind, **labels)
    mask = {"paths": ["schedule_time", f"labels.{kind}"]}
    assert not (await api.update(job.job_id, update_mask=mask, labels={kind: "bob"})).holds
    assert (await limit(api, label_scope(kind, "bob"))).running == 1
    assert {one.job_id for one in await api.claim(kind, 9)} == {job.job_id, running.job_id}


async def test_a_job_that_is_put_off_gives_its_slot_to_another(api: Api, kind: str):
    await set_limit(api, kind_scope(kind), 1)
    first = await api.create(kind)
    second = await api.create(kind)
    assert [hold.reason for hold in second.holds] == [HOLD_REASON_LIMIT]
    assert [hold.reason for hold in (await reschedule(api, first.job_id, later())).holds] == [HOLD_REASON_SCHEDULE]
    [claimed] = await api.claim(kind, 9, wait=LONG)
    assert claimed.job_id == second.job_id


@pytest.mark.guarantee("3c.9")
async def test_a_scheduled_job_takes_no_slot_before_its_time_and_queues_for_it_then(api: Api, kind: str):
    await set_limit(api, kind_scope(kind), 1)
    job = await scheduled(api, kind)
    assert await limit(api, kind_scope(kind)) == Limit(scope=kind_scope(kind), max_running=1)
    other = await api.create(kind)
    assert not other.holds
    async with api.watch_job(job.job_id) as watch:
        await watch.change()  # the snapshot, before the change
        await reschedule(api, job.job_id, None)
        changed = await watch.change()
    [hold] = changed.job.holds
    assert (hold.reason, hold.scope) == (HOLD_REASON_LIMIT, kind_scope(kind))
    await api.cancel(other.job_id)
    [claimed] = await api.claim(kind, wait=LONG)
    assert claimed.job_id == job.job_id


async def test_a_retry_begins_at_once(api: Api, kind: str):
    job = await scheduled(api, kind)
    cancelled = (await api.cancel(job.job_id)).job
    assert (cancelled.state, list(cancelled.holds)) == (CANCELLED, [])
    retried = await api.retry(job.job_id)
    assert (list(retried.holds), retried.HasField("schedule_time")) == ([], False)
    assert len(await api.claim(kind)) == 1


async def test_a_retry_keeps_a_time_that_has_come(api: Api, kind: str):
    time = datetime(2001, 1, 1, tzinfo=UTC)
    job = await scheduled(api, kind, time)
    await api.cancel(job.job_id)
    assert (await api.retry(job.job_id)).schedule_time.ToDatetime(UTC) == time


async def test_a_retried_job_gets_no_other_time(api: Api, kind: str):
    job = await api.create(kind, item_count=2, chunk_size=1)
    await api.complete(*await api.claim(kind))
    await api.cancel(job.job_id)
    assert (await api.retry(job.job_id)).state == QUEUED
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "JOB_STARTED"):
        await reschedule(api, job.job_id, later())
    assert len(await api.claim(kind)) == 1


async def test_a_scheduled_job_is_unfinished_for_its_unique_key_and_the_same_whatever_its_time(api: Api, kind: str):
    job = await scheduled(api, kind, unique_key="nightly", job_id=f"{kind}-a")
    request = CreateJobRequest(kind=kind, unique_key="nightly", schedule_time=later(hours=5))
    again = await api.jobs.CreateJob(request)
    assert (again.created, again.job.job_id) == (False, job.job_id)
    same = await api.jobs.CreateJob(CreateJobRequest(kind=kind, job_id=job.job_id, schedule_time=later(hours=7)))
    assert (same.created, same.job.schedule_time) == (False, job.schedule_time)


async def test_jobs_of_a_batch_and_of_a_preview_have_their_time(api: Api, kind: str):
    requests = [CreateJobRequest(kind=kind, schedule_time=later()), CreateJobRequest(kind=kind)]
    preview = await api.jobs.CreateJob(CreateJobRequest(kind=kind, schedule_time=later(), validate_only=True))
    assert [hold.reason for hold in preview.job.holds] == [HOLD_REASON_SCHEDULE]
    results = (await api.jobs.BatchCreateJobs(BatchCreateJobsRequest(requests=requests))).results
    assert [len(result.job.holds) for result in results] == [1, 0]
    assert [one.job_id for one in await api.claim(kind, 9)] == [results[1].job.job_id]


@pytest.mark.parametrize("field", ["schedule_time", "expire_time"])
async def test_a_job_that_expires_before_its_time_is_refused(api: Api, kind: str, field: str):
    with invalid("expire_time"):
        await scheduled(api, kind, later(hours=2), expire_time=later(hours=1))
    job = await scheduled(api, kind, later(hours=2), expire_time=later(hours=3))
    times = {"schedule_time": later(hours=4), "expire_time": later(hours=1)}
    request = UpdateJobRequest(job_id=job.job_id, update_mask=FieldMask(paths=[field]), **{field: times[field]})
    with invalid("expire_time"):
        await api.jobs.UpdateJob(request)
