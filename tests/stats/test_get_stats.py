"""GetJobStats: the figures of jobs, the spans and series it takes, and what it refuses."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import grpc
import pytest
from jobledger.v1.stats_pb2 import GetJobStatsResponse, JobCounts, JobStats, StatsStep
from jobledger.v1.worker_service_pb2 import (
    ChunkCompletion,
    ClaimedChunk,
    CompleteChunksRequest,
    HeartbeatRequest,
    LeaseReport,
)

from tests.support.api import Api, fresh_kind
from tests.support.errors import read
from tests.support.server import Server
from tests.support.states import COMPLETED, FAILED, RUNNING

HOUR, DAY = StatsStep.STATS_STEP_HOUR, StatsStep.STATS_STEP_DAY
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


async def stats(api: Api, *kinds: str, **fields: object) -> GetJobStatsResponse:
    return await api.stats(kinds=kinds, **fields)


def span(start: datetime, **length: float) -> dict[str, datetime]:
    return {"start_time": start, "end_time": start + timedelta(**length)}


async def test_the_figures_of_one_kind(api: Api, kind: str, connect: Callable[[Server], Api], replicas: list[Server]):
    done = await api.create(kind, item_count=700, chunk_size=350)
    claimed = await api.claim(kind, 2)
    made = {"preview": {"uri": "s3://b/p.png", "size_bytes": 2_000}}
    completions = [ChunkCompletion(lease_token=chunk.lease.token, progress={"artifacts": made}) for chunk in claimed]
    await api.work.CompleteChunks(CompleteChunksRequest(completions=completions))
    failed = await api.job_in(FAILED, kind)
    await api.retry(failed.job_id)
    await api.complete(*await api.claim(kind))
    cancelled = await api.create(kind)
    await api.cancel(cancelled.job_id)
    await api.job_in(FAILED, kind)
    await api.job_in(RUNNING, kind, item_count=3, chunk_size=1)
    waiting = [await api.create(kind, item_count=4, chunk_size=2) for _ in range(2)]
    await api.delete(done.job_id)

    found = await stats(connect(replicas[-1]), kind)
    assert [one.kind for one in found.kinds] == [kind]
    now, did = found.kinds[0].stats.now, found.kinds[0].stats.activity
    assert found.total.activity == did
    assert found.total.now.queued == 2
    assert (now.queued, now.running, now.cancelling) == (2, 1, 0)
    assert (now.completed, now.failed, now.cancelled) == (1, 1, 1)
    assert (now.chunks_pending, now.chunks_processing) == (4 + 2, 1)
    assert now.oldest_queued_time == waiting[0].create_time
    assert timedelta(0) <= now.oldest_queued_age.ToTimedelta() < timedelta(minutes=10)
    assert (did.created, did.started) == (7, 5)
    assert (did.completed, did.failed, did.cancelled) == (2, 2, 1)
    assert did.success_rate == 0.5
    assert (did.chunks_completed, did.items_completed) == (3, 700)
    assert (did.artifact_count, did.artifact_bytes) == (2, 4_000)
    assert (did.job_retries, did.failed_attempts) == (1, 2)
    assert did.processing.count == 4, "the run that was cancelled before its start has no duration"
    assert did.processing.mean_seconds == pytest.approx(did.processing.total_seconds / 4)
    assert 0 < did.processing.p50_seconds <= did.processing.p95_seconds <= did.processing.p99_seconds
    assert did.waiting.count == 5


async def test_bytes_of_artifacts_stay_until_their_job_is_deleted(
    api: Api, kind: str, connect: Callable[[Server], Api], replicas: list[Server]
):
    job = await api.create(kind, item_count=2, chunk_size=1)
    other = await api.create(f"{kind}.other")
    [held], [first, second] = await api.claim(f"{kind}.other"), await api.claim(kind, 2)

    async def stored(chunk: ClaimedChunk, **sizes: int | None) -> tuple[int, int]:
        """Report artifacts of a chunk and of its job; return the bytes of the kind, and of the other one."""
        made = {
            name: {"uri": "s3://b/x"} | ({} if size is None else {"size_bytes": size}) for name, size in sizes.items()
        }
        progress = {"job_artifacts" if name == "j" else "artifacts": {name: made[name]} for name in made}
        report = LeaseReport(lease_token=chunk.lease.token, progress=progress)
        await api.work.Heartbeat(HeartbeatRequest(reports=[report]))
        return await now()

    async def now() -> tuple[int, int]:
        shown = await stats(connect(replicas[-1]), kind, f"{kind}.other")
        by_kind = {of_kind.kind: of_kind.stats.now.artifact_bytes for of_kind in shown.kinds}
        assert shown.total.now.artifact_bytes == sum(by_kind.values())
        return by_kind.get(kind, 0), by_kind[f"{kind}.other"]

    assert await stored(held, c=7) == (0, 7)
    assert await stored(first, c=100, j=20) == (120, 7)
    assert await stored(second, c=3, j=10) == (113, 7), "the job's artifact was replaced"
    assert await stored(second, unknown=None) == (113, 7)
    await api.fail(first, not_retryable=True)
    await api.complete(second)
    await api.retry(job.job_id)
    assert await now() == (113, 7), "an end or a retry keeps what was made"
    await api.delete(job.job_id, force=True)
    assert await now() == (0, 7)
    await api.delete(other.job_id, force=True)


async def test_a_chunk_that_goes_again_within_its_run_is_no_new_run(api: Api, kind: str):
    job = await api.create(kind, item_count=2, chunk_size=1)
    failed, _ = await api.claim(kind, 2)
    await api.fail(failed, not_retryable=True)
    await api.retry(job.job_id, chunk_indexes=[0])
    found = (await stats(api, kind)).total
    assert (found.now.running, found.now.chunks_pending, found.now.chunks_processing) == (1, 1, 1)
    assert (found.activity.job_retries, found.activity.failed_attempts) == (0, 1)


async def test_a_kind_that_never_was_has_no_figures(api: Api, kind: str):
    found = await stats(api, kind)
    assert not found.kinds
    assert found.total.now == JobCounts()
    did = found.total.activity
    assert (did.created, did.HasField("success_rate"), did.processing.count) == (0, False, 0)
    assert not did.processing.HasField("p50_seconds")
    assert not found.total.now.HasField("oldest_queued_age")


async def test_all_kinds_are_counted_unless_some_are_named(api: Api):
    kinds = sorted(fresh_kind() for _ in range(3))
    for kind in kinds:
        await api.job_in(COMPLETED, kind)
    found = await stats(api)
    by_kind: dict[str, JobStats] = {one.kind: one.stats for one in found.kinds}
    assert list(by_kind) == sorted(by_kind)
    assert {by_kind[kind].activity.completed for kind in kinds} == {1}
    assert found.omitted_kind_count == 0
    assert found.total.activity.completed == sum(one.activity.completed for one in by_kind.values())
    two = await stats(api, *kinds[:2], kinds[0])
    assert [one.kind for one in two.kinds] == kinds[:2]
    assert two.total.activity.completed == 2


@pytest.mark.parametrize("step", [0, HOUR, DAY])
async def test_a_series_has_a_point_for_each_step_also_where_nothing_happened(api: Api, kind: str, step: int):
    await api.job_in(COMPLETED, kind)
    end = datetime.now(UTC)
    start = end - timedelta(days=3)
    found = await stats(api, kind, time_range={"start_time": start}, step=step)
    first, last = found.time_range.start_time.ToDatetime(UTC), found.time_range.end_time.ToDatetime(UTC)
    assert first == start.replace(minute=0, second=0, microsecond=0)
    assert last >= end
    assert last - datetime.now(UTC) <= timedelta(hours=1)
    if not step:
        assert not found.series
        return
    length = timedelta(hours=1 if step == HOUR else 24)
    begins = [point.start_time.ToDatetime(UTC) for point in found.series]
    assert begins[0] <= first < begins[0] + length
    assert begins[-1] < last <= begins[-1] + length
    assert {later - earlier for earlier, later in pairwise(begins)} == {length}
    assert sum(point.activity.completed for point in found.series) == 1
    assert found.series[-1].activity.processing.count + found.series[-2].activity.processing.count == 1


async def test_without_a_time_range_it_is_the_last_24_hours(api: Api, kind: str):
    found = await stats(api, kind, step=HOUR)
    assert len(found.series) in (24, 25)
    until = await stats(api, kind, time_range={"end_time": NEW_YEAR}, step=HOUR)
    assert until.time_range.start_time.ToDatetime(UTC) == NEW_YEAR - timedelta(days=1)
    assert len(until.series) == 24


async def test_a_span_before_or_after_all_jobs_is_empty_and_now_is_not(api: Api, kind: str):
    await api.create(kind)
    for start in (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)):
        found = await stats(api, kind, time_range=span(start, days=300), step=DAY)
        assert (found.total.now.queued, found.total.activity.created, len(found.series)) == (1, 0, 300)
        assert found.total.activity.items_per_second == 0


@pytest.mark.one_store("it is refused before the store is asked")
@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"time_range": span(NEW_YEAR, hours=-1)}, ["time_range"]),
        ({"time_range": span(NEW_YEAR, hours=0)}, ["time_range"]),
        ({"time_range": {"start_time": datetime(2500, 1, 1, tzinfo=UTC)}}, ["time_range"]),
        ({"time_range": span(datetime(1969, 12, 31, tzinfo=UTC), days=2)}, ["time_range.start_time"]),
        ({"time_range": {"end_time": datetime(1969, 1, 1, tzinfo=UTC)}}, ["time_range.end_time"]),
        ({"time_range": {"end_time": {"seconds": 1 << 60}}}, ["time_range.end_time"]),
        ({"time_range": {"end_time": {"seconds": 253_402_300_799}}}, ["time_range.end_time"]),
        ({"time_range": {"start_time": {"nanos": -1}}}, ["time_range.start_time"]),
        ({"kinds": ["ok"] * 101}, ["kinds"]),
        ({"kinds": ["ok", "Not OK", ""]}, ["kinds[1]", "kinds[2]"]),
        ({"step": 7}, ["step"]),
        ({"step": HOUR, "time_range": span(NEW_YEAR, hours=2_001)}, ["step"]),
        ({"step": DAY, "time_range": span(NEW_YEAR, days=2_000, hours=1)}, ["step"]),
        (
            {
                "step": HOUR,
                "kinds": ["a", "b", *map("k{}".format, range(9))],
                "time_range": span(NEW_YEAR, hours=1_900),
            },
            ["step"],
        ),
        ({"step": 7, "kinds": [""], "time_range": span(NEW_YEAR, hours=-1)}, ["kinds[0]", "step", "time_range"]),
    ],
)
async def test_what_is_wrong_is_refused_by_name(api: Api, fields: dict[str, Any], names: list[str]):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await api.stats(**fields)
    result = read(refused.value)
    assert (result.code, result.reason, result.fields) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", names)


@pytest.mark.parametrize(
    "fields",
    [
        {"step": HOUR, "time_range": span(NEW_YEAR, hours=2_000)},
        {"step": DAY, "time_range": span(NEW_YEAR, days=2_000)},
        {"time_range": span(datetime(1970, 1, 1, tzinfo=UTC), days=2_000_000)},
    ],
)
async def test_the_largest_spans_are_taken(api: Api, fields: dict[str, Any]):
    found = await api.stats(**fields)
    assert len(found.series) == (2_000 if "step" in fields else 0)
