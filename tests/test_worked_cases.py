"""The cases that were worked out by hand before the code was: each must come out exactly."""

from datetime import timedelta
from uuid import uuid4

import grpc
import pytest
from jobledger.v1.event_pb2 import ChangeType
from jobledger.v1.job_service_pb2 import CreateJobRequest, ListJobsRequest, WatchMode
from jobledger.v1.worker_service_pb2 import HeartbeatRequest, LeaseReport

from tests.support.api import Api
from tests.support.errors import assert_entry_refused, invalid, refused
from tests.support.states import CANCEL_REQUESTED, CANCELLED, CANCELLING, COMPLETED, LEASE_LOST, OK, summary

WEIGHTS = {
    "validate": 5, "upload": 5, "thumbnail": 5, "transcode_360p": 25, "transcode_720p": 25, "audio": 10,
    "transcribe": 15, "hls": 5, "outputs": 5,
}  # fmt: skip


async def spans(api: Api, kind: str, **fields: object) -> list[tuple[int, int]]:
    """Return the first and last item of each chunk of a new job."""
    job = await api.get((await api.create(kind, **fields)).job_id)
    return [(chunk.first_item, chunk.last_item) for chunk in job.chunks]


async def test_2500_items_make_five_chunks(api: Api, kind: str):
    expected = [(0, 499), (500, 999), (1000, 1499), (1500, 1999), (2000, 2499)]
    assert await spans(api, kind, item_count=2_500) == expected


async def test_250_items_make_one_chunk(api: Api, kind: str):
    assert await spans(api, kind, item_count=250) == [(0, 249)]


async def test_1000_items_make_two_chunks(api: Api, kind: str):
    assert await spans(api, kind, item_count=1_000) == [(0, 499), (500, 999)]


async def test_explicit_chunks_carry_their_own_inputs(api: Api, kind: str):
    await api.create(kind, chunks=[{"input": {"file": "a.jpg"}}, {"input": {"file": "b.jpg"}}])
    claimed = await api.claim(kind, 2)
    assert [dict(one.chunk.input) for one in claimed] == [{"file": "a.jpg"}, {"file": "b.jpg"}]


async def test_a_job_without_items_has_one_chunk(api: Api, kind: str):
    assert summary(await api.create(kind)) == {"total": 1, "pending": 1}


async def test_two_of_five_chunks_done_and_one_half_done_are_50_percent(api: Api, kind: str):
    job = await api.create(kind, item_count=2_500)
    first, second, third = await api.claim(kind, 3)
    await api.complete(first, second)
    await api.report(third, items_completed=250)
    job = await api.get(job.job_id)
    assert job.progress.percent == 50.0
    assert job.progress.items_completed == 1_250
    assert summary(job) == {"total": 5, "pending": 2, "processing": 1, "completed": 2}


async def test_transcode_720p_at_40_percent_is_50_percent(api: Api, kind: str):
    stages = [{"name": name, "weight": weight} for name, weight in WEIGHTS.items()]
    job = await api.create(kind, stages=stages)
    [claimed] = await api.claim(kind)
    await api.report(claimed, stage="transcode_720p", stage_percent=40)
    job = await api.get(job.job_id)
    assert (job.progress.percent, job.chunks[0].progress.percent) == (50.0, 50.0)
    assert (job.progress.stage, job.progress.stage_percent) == ("transcode_720p", 40)


async def test_a_worker_whose_lease_expired_is_refused_and_the_second_owner_completes_once(api: Api, kind: str):
    job = await api.create(kind, retry_policy={"initial_backoff": timedelta(0)})
    async with api.watch_job(job.job_id, mode=WatchMode.WATCH_MODE_EVERY) as watch:
        await watch.message()
        [late] = await api.claim(kind, worker="late", lease_duration=timedelta(seconds=1))
        expired = ChangeType.CHANGE_TYPE_LEASE_EXPIRED
        await watch.until(lambda message: any(change.type == expired for change in message.event.changes))
        [owner] = await api.claim(kind, worker="second")
        assert (await api.complete(late))[0].status == LEASE_LOST
        assert (await api.complete(owner))[0].status == OK
        assert (await api.complete(late))[0].status == LEASE_LOST
        messages = await watch.rest()
    changes = [change for message in messages for change in message.event.changes]
    completed = [change.actor for change in changes if change.type == ChangeType.CHANGE_TYPE_CHUNK_COMPLETED]
    assert completed == ["second"]
    assert (await api.get(job.job_id)).state == COMPLETED


async def test_create_job_sent_twice_with_one_request_id_gives_one_job(api: Api, kind: str):
    request = CreateJobRequest(kind=kind, request_id=uuid4().hex, item_count=10)
    first, second = await api.jobs.CreateJob(request), await api.jobs.CreateJob(request)
    assert first.job == second.job
    assert (first.created, second.created) == (True, False)
    assert (await api.list_jobs(filter={"kinds": [kind]})).total_size == 1


async def test_the_same_request_id_with_other_content_is_refused(api: Api, kind: str):
    request_id = uuid4().hex
    await api.create(kind, request_id=request_id, item_count=10)
    with refused(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED"):
        await api.create(kind, request_id=request_id, item_count=11)
    assert (await api.list_jobs(filter={"kinds": [kind]})).total_size == 1


async def test_cancel_while_two_chunks_are_in_work(api: Api, kind: str):
    job = await api.create(kind, item_count=4, chunk_size=1)
    anna, bob = (await api.claim(kind, worker="anna")) + (await api.claim(kind, worker="bob"))
    await api.cancel(job.job_id)
    assert (await api.get(job.job_id)).state == CANCELLING
    assert (await api.report(anna)).status == CANCEL_REQUESTED
    assert (await api.report(bob, percent=50)).status == CANCEL_REQUESTED
    await api.release(anna)
    assert (await api.get(job.job_id)).state == CANCELLING
    await api.release(bob)
    ended = await api.get(job.job_id)
    assert ended.state == CANCELLED
    assert summary(ended) == {"total": 4, "cancelled": 4}
    assert [result.status for result in await api.complete(anna, bob)] == [LEASE_LOST, LEASE_LOST]
    assert await api.get(job.job_id) == ended


@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("priority", {"priority": 11}),
        ("labels", {"labels": {f"label-{n}": "" for n in range(70)}}),
        ("input", {"input": {"text": "x" * 65_536}}),
        ("chunk_size", {"item_count": 10, "chunk_size": 0}),
    ],
    ids=["priority_11", "70_labels", "input_over_64_KiB", "chunk_size_0"],
)
async def test_a_job_that_breaks_a_rule_is_not_created(api: Api, kind: str, field: str, broken: dict[str, object]):
    with invalid(field):
        await api.create(kind, **broken)
    assert (await api.list_jobs(filter={"kinds": [kind]})).total_size == 0


@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("progress.percent", {"progress": {"percent": 101}}),
        ("progress.stage", {"progress": {"stage": "no_such_stage"}}),
        ('progress.artifacts["x"].uri', {"progress": {"artifacts": {"x": {"uri": "/etc/passwd"}}}}),
        ('progress.artifacts["x"].uri', {"progress": {"artifacts": {"x": {"uri": "file:///x"}}}}),
    ],
    ids=["percent_101", "unknown_stage", "etc_passwd", "file_uri"],
)
async def test_a_report_that_breaks_a_rule_changes_nothing(api: Api, kind: str, field: str, broken: dict[str, object]):
    job = await api.create(kind, stages=[{"name": "only"}])
    [claimed] = await api.claim(kind)
    before = await api.get(job.job_id)
    report = LeaseReport(lease_token=claimed.lease.token, **broken)
    request = HeartbeatRequest(reports=[report], lease_duration=timedelta(hours=1))
    [result] = (await api.work.Heartbeat(request)).results
    assert_entry_refused(result.error, field)
    assert await api.get(job.job_id) == before


async def test_a_page_token_with_another_filter_is_refused(api: Api, kind: str):
    for _ in range(2):
        await api.create(kind)
    first = await api.list_jobs(filter={"kinds": [kind]}, page_size=1)
    other = ListJobsRequest(filter={"kinds": [kind, "other"]}, page_token=first.next_page_token)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
        await api.jobs.ListJobs(other)
