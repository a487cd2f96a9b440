"""The last word counts: the report that comes with the end of a lease is in the commit that ends it."""

from datetime import timedelta
from itertools import pairwise

import pytest
from jobledger.v1.job_pb2 import JobState
from jobledger.v1.worker_service_pb2 import ClaimedChunk, LeaseResult

from tests.support.api import Api
from tests.support.errors import assert_entry_refused
from tests.support.states import CANCELLED, CHUNK_PENDING, COMPLETED, FAILED, OK, REFUSED, RUNNING

URI = "s3://bucket/key"
LAST = {
    "stage": "encode",
    "stage_percent": 100,
    "message": "all frames written",
    "items_completed": 7,
    "artifacts": {"video": {"uri": URI}},
    "job_artifacts": {"poster": {"uri": URI}},
}
ends = pytest.mark.parametrize(
    ("end", "state"), [("complete", COMPLETED), ("fail", FAILED), ("release", RUNNING), ("cancelled", CANCELLED)]
)


async def ended(api: Api, end: str, claimed: ClaimedChunk, progress: dict[str, object]) -> LeaseResult:
    """End a lease with a report; "cancelled" is the release of a chunk whose job is to stop."""
    if end == "fail":
        return (await api.fail(claimed, not_retryable=True, progress=progress))[0]
    if end == "cancelled":
        await api.cancel(claimed.job_id)
        end = "release"
    return (await getattr(api, end)(claimed, progress=progress))[0]


@pytest.mark.guarantee("3c.2")
@ends
async def test_the_last_report_is_in_the_commit_that_ends_the_lease(
    api: Api, kind: str, end: str, state: JobState.ValueType
):
    bystander = await api.get((await api.create(kind, item_count=10)).job_id)
    job_id = (await api.create(kind, item_count=10, priority=9)).job_id
    [claimed] = await api.claim(kind)
    await api.report(claimed, stage="decode", stage_percent=90, message="90 of 100 frames")
    before = await api.get(job_id)
    assert (await ended(api, end, claimed, LAST)).status == OK
    job = await api.get(job_id)
    assert job.revision - before.revision == (2 if end == "cancelled" else 1)
    assert (job.state, job.progress.stage, job.progress.message) == (state, "encode", "all frames written")
    assert job.progress.stage_percent == 100
    assert (job.chunks[0].progress.stage, job.chunks[0].progress.message) == ("encode", "all frames written")
    assert job.chunks[0].progress.items_completed == (10 if end == "complete" else 7)
    assert job.chunks[0].artifacts["video"].uri == job.artifacts["poster"].uri == URI
    assert await api.get(bystander.job_id) == bystander


@ends
async def test_stages_are_timed_to_the_last_one_and_those_that_were_passed_are_among_them(
    api: Api, kind: str, end: str, state: JobState.ValueType
):
    job_id = (await api.create(kind, item_count=10)).job_id
    [claimed] = await api.claim(kind)
    await api.report(claimed, stage="decode")
    passed = [{"stage": "scale", "duration": timedelta(microseconds=200)}, {"stage": "crop"}]
    await ended(api, end, claimed, LAST | {"passed_stages": passed, "stage_duration": timedelta(microseconds=100)})
    job = await api.get(job_id)
    timings = job.stage_timings
    assert [timing.stage for timing in timings] == ["decode", "scale", "crop", "encode"]
    assert [timing.duration.ToMicroseconds() for timing in timings[1:]] == [200, 0, 100]
    for timing, following in pairwise(timings):
        assert timing.end_time == following.start_time
    assert timings[-1].end_time == job.update_time


async def test_a_failure_may_report_when_the_next_attempt_begins(api: Api, kind: str):
    job_id = (await api.create(kind, retry_policy={"initial_backoff": timedelta(minutes=10), "jitter": 0})).job_id
    [claimed] = await api.claim(kind)
    [result] = await api.fail(claimed, retry_delay=timedelta(hours=3))
    job = await api.get(job_id)
    assert result.next_attempt_time == job.chunks[0].next_attempt_time
    assert result.next_attempt_time.ToDatetime() - job.update_time.ToDatetime() == timedelta(hours=3)


async def test_a_failure_may_have_its_chunk_go_again_at_once(api: Api, kind: str):
    await api.create(kind, retry_policy={"initial_backoff": timedelta(minutes=10)})
    [claimed] = await api.claim(kind)
    [result] = await api.fail(claimed, retry_delay=timedelta(0))
    assert not result.HasField("next_attempt_time")
    [again] = await api.claim(kind)
    assert again.chunk.attempt == 2


async def test_a_release_with_a_delay_is_retried_after_it(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    [claimed] = await api.claim(kind)
    [result] = await api.release(claimed, delay=timedelta(milliseconds=300), reason="the GPU is taken")
    assert (result.status, result.chunk_state) == (OK, CHUNK_PENDING)
    job = await api.get(job_id)
    assert result.next_attempt_time.ToDatetime() - job.update_time.ToDatetime() == timedelta(milliseconds=300)
    [again] = await api.claim(kind, wait=timedelta(seconds=30))
    assert again.chunk.attempt == 1
    assert again.chunk.start_time.ToNanoseconds() >= result.next_attempt_time.ToNanoseconds()


BROKEN = [
    ("progress.percent", {"progress": {"percent": 101}}),
    ("progress.stage", {"progress": {"stage": "bake"}}),
    ("progress.stage", {"progress": {"passed_stages": [{"stage": "decode"}]}}),
    ("progress.passed_stages[0].stage", {"progress": {"stage": "decode", "passed_stages": [{"stage": "bake"}]}}),
    ("progress.passed_stages", {"progress": {"stage": "decode", "passed_stages": [{"stage": "decode"}] * 101}}),
    (
        "progress.passed_stages[0].duration",
        {"progress": {"stage": "decode", "passed_stages": [{"stage": "decode", "duration": timedelta(seconds=-1)}]}},
    ),
    ("progress.stage_duration", {"progress": {"stage_duration": timedelta(days=8)}}),
    ("progress.items_completed", {"progress": {"items_completed": 11}}),
    ('progress.artifacts["x"].uri', {"progress": {"artifacts": {"x": {"uri": "/etc/passwd"}}}}),
]


@pytest.mark.one_store("it is refused before the store is asked")
@pytest.mark.parametrize(
    ("end", "field", "broken"),
    [(end, field, broken) for end in ("complete", "fail", "release") for field, broken in BROKEN]
    + [
        ("fail", "retry_delay", {"retry_delay": timedelta(days=7, microseconds=1)}),
        ("fail", "retry_delay", {"retry_delay": timedelta(seconds=-1)}),
        ("release", "delay", {"delay": timedelta(days=7, microseconds=1)}),
        ("release", "reason", {"reason": "x" * 1_025}),
    ],
)
async def test_an_end_that_breaks_a_rule_is_refused_and_nothing_of_it_is_taken(
    api: Api, kind: str, end: str, field: str, broken: dict[str, object]
):
    job_id = (await api.create(kind, item_count=10, stages=[{"name": "decode"}])).job_id
    [claimed] = await api.claim(kind)
    before = await api.get(job_id)
    [result] = await getattr(api, end)(claimed, **broken)
    assert result.status == REFUSED
    assert_entry_refused(result.error, field)
    assert await api.get(job_id) == before


async def test_a_claim_reports_which_schemes_an_artifact_may_have(api: Api, kind: str):
    await api.create(kind)
    [claimed] = await api.claim(kind)
    assert list(claimed.artifact_schemes) == ["abfs", "abfss", "az", "gs", "http", "https", "minio", "r2", "s3"]
