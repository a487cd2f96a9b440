"""Heartbeat: leases last on, progress and artifacts arrive, and one lost lease harms none beside it."""

import math
from datetime import timedelta

import pytest
from jobledger.v1.worker_service_pb2 import HeartbeatRequest, HeartbeatResult, LeaseReport

from tests.support.api import Api
from tests.support.errors import assert_entry_refused, invalid
from tests.support.states import LEASE_LOST, OK, REFUSED

HOUR = timedelta(hours=1)
URI = "s3://bucket/preview.jpg"


async def beat(api: Api, *reports: dict[str, object], **fields: object) -> list[HeartbeatResult]:
    """Send one heartbeat with these reports."""
    request = HeartbeatRequest(reports=[LeaseReport(**report) for report in reports], **fields)
    return list((await api.work.Heartbeat(request)).results)


async def test_a_lease_lasts_on_and_the_job_is_not_changed(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    [claimed] = await api.claim(kind)
    revision = (await api.get(job_id)).revision
    [result] = await beat(api, {"lease_token": claimed.lease.token}, lease_duration=HOUR)
    assert (result.status, result.lease_token) == (OK, claimed.lease.token)
    assert result.expire_time.ToDatetime() - claimed.lease.expire_time.ToDatetime() > timedelta(minutes=58)
    job = await api.get(job_id)
    assert job.chunks[0].lease_expire_time == result.expire_time
    assert job.revision == revision


async def test_progress_reaches_chunk_and_job(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=200, chunk_size=100)).job_id
    [claimed] = await api.claim(kind)
    before = await api.get(job_id)
    await api.report(claimed, percent=30, stage="mixing", stage_percent=60, message="verse 2", items_completed=30)
    job = await api.get(job_id)
    chunk = job.chunks[0].progress
    assert (chunk.percent, chunk.stage, chunk.stage_percent) == (30, "mixing", 60)
    assert (chunk.message, chunk.items_completed) == ("verse 2", 30)
    assert (job.progress.percent, job.progress.stage, job.progress.stage_percent) == (15, "mixing", 60)
    assert (job.progress.message, job.progress.items_completed, job.progress.items_total) == ("verse 2", 30, 200)
    assert job.revision == before.revision + 1


async def test_what_is_absent_is_unchanged(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=10)).job_id
    [claimed] = await api.claim(kind)
    await api.report(claimed, percent=30, stage="mixing", stage_percent=60, message="verse 2", items_completed=3)
    before = (await api.get(job_id)).chunks[0].progress
    await api.report(claimed, message="verse 3")
    after = (await api.get(job_id)).chunks[0].progress
    assert after.message == "verse 3"
    after.message = before.message
    assert after == before


async def test_a_new_stage_begins_at_zero(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    [claimed] = await api.claim(kind)
    await api.report(claimed, stage="mixing", stage_percent=60)
    await api.report(claimed, stage="mastering")
    progress = (await api.get(job_id)).progress
    assert (progress.stage, progress.HasField("stage_percent"), progress.stage_percent) == ("mastering", True, 0)


async def test_percent_never_falls_within_an_attempt(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    [claimed] = await api.claim(kind)
    await api.report(claimed, percent=50)
    assert (await api.report(claimed, percent=20)).status == OK
    job = await api.get(job_id)
    assert (job.progress.percent, job.chunks[0].progress.percent) == (50, 50)


async def test_percent_is_computed_from_the_items_when_it_is_not_given(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=40)).job_id
    [claimed] = await api.claim(kind)
    await api.report(claimed, items_completed=10)
    assert (await api.get(job_id)).progress.percent == 25


async def test_the_stages_are_timed_in_the_order_they_were_entered(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    [claimed] = await api.claim(kind)
    for stage in ("loading_stems", "mixing", "mastering"):
        await api.report(claimed, stage=stage)
    timings = (await api.get(job_id)).stage_timings
    assert [timing.stage for timing in timings] == ["loading_stems", "mixing", "mastering"]
    assert [timing.HasField("end_time") for timing in timings] == [True, True, False]
    assert timings[0].end_time == timings[1].start_time
    assert timings[0].duration.ToTimedelta() == timings[0].end_time.ToDatetime() - timings[0].start_time.ToDatetime()
    await api.complete(claimed)
    assert all(timing.HasField("end_time") for timing in (await api.get(job_id)).stage_timings)


async def test_artifacts_are_added_and_replaced_by_name_while_the_job_runs(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    [claimed] = await api.claim(kind)
    full = {"uri": URI, "content_type": "image/jpeg", "size_bytes": 0, "metadata": {"width": 640}}
    await beat(api, {"lease_token": claimed.lease.token, "progress": {"artifacts": {"a": full, "b": {"uri": URI}}}})
    second = {"artifacts": {"b": {"uri": "gs://x/y"}}, "job_artifacts": {"preview": full}}
    await beat(api, {"lease_token": claimed.lease.token, "progress": second})
    job = await api.get(job_id)
    kept = job.chunks[0].artifacts["a"]
    assert (kept.uri, kept.content_type, kept.HasField("size_bytes"), kept.size_bytes) == (URI, "image/jpeg", True, 0)
    assert dict(kept.metadata) == {"width": 640}
    assert kept.HasField("create_time")
    assert job.chunks[0].artifacts["b"].uri == "gs://x/y"
    assert not job.chunks[0].artifacts["b"].HasField("size_bytes")
    assert {name: artifact.uri for name, artifact in job.artifacts.items()} == {"preview": URI}


@pytest.mark.guarantee("3c.6")
async def test_a_lost_lease_fails_none_of_the_others(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=3, chunk_size=1)).job_id
    claimed = await api.claim(kind, 3)
    await api.release(claimed[1])
    reports = [{"lease_token": one.lease.token, "progress": {"percent": 10}} for one in claimed]
    results = await beat(api, *reports)
    assert [result.status for result in results] == [OK, LEASE_LOST, OK]
    assert [result.HasField("expire_time") for result in results] == [True, False, True]
    assert [result.lease_token for result in results] == [one.lease.token for one in claimed]
    assert [chunk.progress.percent for chunk in (await api.get(job_id)).chunks] == [10, 0, 10]


async def test_reports_of_several_jobs_go_together(api: Api, kind: str):
    jobs = [await api.create(kind) for _ in range(20)]
    claimed = await api.claim(kind, 20)
    await beat(api, *({"lease_token": one.lease.token, "progress": {"percent": 40}} for one in claimed))
    assert {(await api.get(job.job_id)).progress.percent for job in jobs} == {40}


BROKEN_REPORTS = [
    ("progress.percent", {"progress": {"percent": -0.1}}),
    ("progress.percent", {"progress": {"percent": 100.1}}),
    ("progress.percent", {"progress": {"percent": math.nan}}),
    ("progress.stage", {"progress": {"stage": ""}}),
    ("progress.stage", {"progress": {"stage": "s" * 129}}),
    ("progress.stage_percent", {"progress": {"stage_percent": 101}}),
    ("progress.stage_percent", {"progress": {"stage": "a", "stage_percent": math.inf}}),
    ("progress.message", {"progress": {"message": "m" * 1_025}}),
    ("progress.items_completed", {"progress": {"items_completed": -1}}),
    ("progress.artifacts", {"progress": {"artifacts": {f"a{n}": {"uri": URI} for n in range(51)}}}),
    ("progress.job_artifacts", {"progress": {"job_artifacts": {f"a{n}": {"uri": URI} for n in range(101)}}}),
    ('progress.artifacts["x"].uri', {"progress": {"artifacts": {"x": {}}}}),
    ('progress.artifacts["x"].uri', {"progress": {"artifacts": {"x": {"uri": "preview.jpg"}}}}),
    ('progress.artifacts["x"].uri', {"progress": {"artifacts": {"x": {"uri": "ftp://host/preview.jpg"}}}}),
    ('progress.artifacts["x"].uri', {"progress": {"artifacts": {"x": {"uri": "javascript:alert(1)"}}}}),
    ('progress.artifacts["x"].uri', {"progress": {"artifacts": {"x": {"uri": "C:\\preview.jpg"}}}}),
    ('progress.artifacts["x"].uri', {"progress": {"artifacts": {"x": {"uri": URI.ljust(2_049, "x")}}}}),
    (
        'progress.artifacts["x"].content_type',
        {"progress": {"artifacts": {"x": {"uri": URI, "content_type": "t" * 256}}}},
    ),
    ('progress.artifacts["x"].size_bytes', {"progress": {"artifacts": {"x": {"uri": URI, "size_bytes": -1}}}}),
    (
        'progress.job_artifacts["x"].metadata',
        {"progress": {"job_artifacts": {"x": {"uri": URI, "metadata": {"m": "x" * 4_097}}}}},
    ),
]


@pytest.mark.one_store("it is refused before the store is asked")
@pytest.mark.guarantee("3c.6")
@pytest.mark.parametrize(("field", "broken"), BROKEN_REPORTS)
async def test_a_report_that_breaks_a_rule_is_refused_alone(api: Api, kind: str, field: str, broken: dict[str, object]):
    job_id = (await api.create(kind, item_count=3, chunk_size=1)).job_id
    first, bad, last = await api.claim(kind, 3)
    before = (await api.get(job_id)).chunks[1]
    good = ({"lease_token": one.lease.token, "progress": {"percent": 5}} for one in (first, last))
    refused_report = {"lease_token": bad.lease.token} | broken
    results = await beat(api, next(good), refused_report, next(good), lease_duration=HOUR)
    assert [result.status for result in results] == [OK, REFUSED, OK]
    assert [result.HasField("error") for result in results] == [False, True, False]
    assert_entry_refused(results[1].error, field)
    assert not results[1].HasField("expire_time")
    chunks = (await api.get(job_id)).chunks
    assert [chunk.progress.percent for chunk in chunks] == [5, 0, 5]
    assert chunks[1] == before, "a refused report does not extend its lease"


async def test_a_call_whose_reports_are_all_refused_names_each(api: Api, kind: str):
    job = await api.create(kind, item_count=1_000, chunk_size=1)
    claimed = await api.claim(kind, 1_000)
    before = await api.get(job.job_id)
    artifacts = {f"{number}" * 128: {"uri": "/" + "é" * 100} for number in range(9)}
    reports = ({"lease_token": one.lease.token, "progress": {"artifacts": artifacts}} for one in claimed)
    results = await beat(api, *reports)
    assert {result.status for result in results} == {REFUSED}
    assert all(result.error.message and result.error.reason for result in results)
    assert len(results[0].error.field_violations) == 8
    assert not results[-1].error.field_violations, "those that do not fit into the response are brief"
    assert await api.get(job.job_id) == before


async def test_more_items_than_the_chunk_has_are_refused(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=10)).job_id
    [claimed] = await api.claim(kind)
    before = await api.get(job_id)
    result = await api.report(claimed, items_completed=11)
    assert_entry_refused(result.error, "progress.items_completed")
    assert await api.get(job_id) == before


@pytest.mark.guarantee("3c.5")
async def test_a_heartbeat_keeps_the_duration_of_each_lease(api: Api, kind: str):
    await api.create(kind, item_count=2, chunk_size=1)
    [long] = await api.claim(kind, lease_duration=timedelta(minutes=10))
    [short] = await api.claim(kind, lease_duration=timedelta(minutes=2))
    tokens = [{"lease_token": one.lease.token} for one in (long, short)]
    claimed = [one.lease.expire_time.ToDatetime() for one in (long, short)]
    for _ in range(2):
        extended = [result.expire_time.ToDatetime() for result in await beat(api, *tokens)]
        assert all(new > old for new, old in zip(extended, claimed, strict=True))
        assert timedelta(minutes=7) < extended[0] - extended[1] < timedelta(minutes=9)


async def test_a_duration_in_a_heartbeat_holds_for_the_next_ones(api: Api, kind: str):
    await api.create(kind)
    [claimed] = await api.claim(kind)
    token = {"lease_token": claimed.lease.token}
    [first] = await beat(api, token, lease_duration=HOUR)
    [second] = await beat(api, token)
    assert second.expire_time.ToDatetime() > first.expire_time.ToDatetime()


async def test_the_next_attempt_has_a_lease_of_its_own(api: Api, kind: str):
    await api.create(kind)
    [first] = await api.claim(kind, lease_duration=HOUR)
    await api.release(first)
    [second] = await api.claim(kind)
    [result] = await beat(api, {"lease_token": second.lease.token})
    assert result.expire_time.ToDatetime() - second.chunk.start_time.ToDatetime() < timedelta(minutes=30)


@pytest.mark.parametrize("seconds", [0.5, 86_401])
async def test_a_lease_duration_out_of_range_is_refused(api: Api, kind: str, seconds: float):
    await api.create(kind)
    [claimed] = await api.claim(kind)
    with invalid("lease_duration"):
        await beat(api, {"lease_token": claimed.lease.token}, lease_duration=timedelta(seconds=seconds))
