"""GetJobStats of jobs that fail: the groups with their examples, the figures of attempts, and series by kind."""

from datetime import UTC, datetime, timedelta

import pytest
from jobledger.v1.event_pb2 import ChangeType
from jobledger.v1.stats_pb2 import GetJobStatsResponse, StatsStep

from tests.support.api import Api, fresh_kind
from tests.support.states import FAILED

EXPIRED = ChangeType.CHANGE_TYPE_LEASE_EXPIRED
TIMED_OUT = ChangeType.CHANGE_TYPE_ATTEMPT_TIMED_OUT
RUN_TIMED_OUT = ChangeType.CHANGE_TYPE_RUN_TIMED_OUT
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
ONCE = {"max_attempts": 1}
AGAIN = {"max_attempts": 2, "initial_backoff": timedelta(milliseconds=1)}


async def stats(api: Api, *kinds: str, **fields: object) -> GetJobStatsResponse:
    return await api.stats(kinds=kinds, **fields)


async def groups(api: Api, *kinds: str) -> list[tuple[str, str, int, str]]:
    found = (await stats(api, *kinds)).total
    assert sum(one.count for one in found.failures) == found.activity.failed
    return [(one.error_code, one.stage, one.count, one.example_job_id) for one in found.failures]


async def fails(api: Api, kind: str, code: str, stage: str = "", **fields: object) -> str:
    """Create a job that fails; return its id."""
    job = await api.create(kind, **fields)
    await api.fail(*await api.claim(kind), code=code, not_retryable=True, progress={"stage": stage or None})
    return job.job_id


async def let_end(api: Api, kind: str, change: int, **fields: object) -> str:
    """Create a job of one attempt, claim it, and wait until time ends it so; return its id."""
    job = await api.create(kind, retry_policy=ONCE, **fields)
    async with api.watch_job(job.job_id) as watch:
        await watch.message()
        await api.claim(kind, lease_duration=SECOND if change == EXPIRED else HOUR)
        await watch.until(lambda message: any(one.type == change for one in message.event.changes))
    return job.job_id


async def test_failed_runs_are_grouped_by_code_and_stage_the_most_frequent_first(api: Api, kind: str):
    await fails(api, kind, "BAD_INPUT", "fetch")
    last = [await fails(api, kind, "OUT_OF_MEMORY", "resize") for _ in range(3)][-1]
    retried = await fails(api, kind, "BAD_INPUT", "fetch")
    await api.retry(retried)
    await api.fail(*await api.claim(kind), code="DENIED", not_retryable=True)
    await api.complete(*[(await api.claim(kind))[0] for _ in [await api.create(kind)]])
    await api.cancel((await api.create(kind)).job_id)
    assert await groups(api, kind) == [
        ("OUT_OF_MEMORY", "resize", 3, last),
        ("BAD_INPUT", "fetch", 2, retried),
        ("DENIED", "", 1, retried),
    ]
    found = await stats(api, kind)
    assert not found.kinds[0].stats.failures
    other = fresh_kind()
    assert await groups(api, other) == []
    denied = await fails(api, other, "DENIED")
    assert (await groups(api, kind, other))[1:] == [("BAD_INPUT", "fetch", 2, retried), ("DENIED", "", 2, denied)]


async def test_a_run_that_time_ends_fails_for_the_reason_of_its_job(api: Api, kind: str):
    expired = await let_end(api, kind, EXPIRED)
    attempt = await let_end(api, kind, TIMED_OUT, attempt_timeout=SECOND)
    found = sorted(await groups(api, kind))
    assert found == [("LEASE_EXPIRED", "", 1, expired), ("TIMED_OUT", "", 1, attempt)]
    run = await let_end(api, f"{kind}.run", RUN_TIMED_OUT, run_timeout=SECOND)
    assert await groups(api, f"{kind}.run") == [("TIMED_OUT", "", 1, run)]
    assert (await stats(api, f"{kind}.run")).total.activity.chunks.ended == 0, "it was stopped with its job"


async def test_an_attempt_that_fails_is_no_failed_run(api: Api, kind: str):
    await api.create(kind, retry_policy=AGAIN, item_count=2, chunk_size=1)
    await api.fail(*await api.claim(kind, 2), code="FLAKY", retry_delay=timedelta(0))
    await api.complete(*await api.claim(kind))
    await api.fail(*await api.claim(kind), code="FLAKY")
    [job] = [(await api.get(one[3])) for one in await groups(api, kind)]
    assert (job.state, job.error.code) == (FAILED, "FLAKY")
    did = (await stats(api, kind)).total.activity
    assert (did.failed, did.failed_attempts, did.chunks_completed) == (1, 3, 1)


@pytest.mark.guarantee("3b.8")
async def test_an_example_that_was_deleted_is_not_shown_nor_another_job_of_its_id(api: Api, kind: str):
    job_id = await fails(api, kind, "BOOM", job_id=f"example-{kind}")
    assert await groups(api, kind) == [("BOOM", "", 1, job_id)]
    await api.delete(job_id)
    assert await groups(api, kind) == [("BOOM", "", 1, "")]
    await api.create(kind, job_id=job_id)
    assert await groups(api, kind) == [("BOOM", "", 1, "")]


async def test_attempts_at_chunks_are_counted_as_they_end(api: Api, kind: str):
    await api.create(kind, item_count=8, chunk_size=2, retry_policy=AGAIN)
    one, two, *_ = await api.claim(kind, 4)
    await api.complete(one)
    await api.fail(two, retry_delay=timedelta(0))
    await api.complete(*await api.claim(kind))
    did = (await stats(api, kind)).total.activity
    assert (did.chunks.ended, did.chunks.retried, did.failed_attempts) == (3, 1, 1)
    assert (did.chunks.processing.count, did.chunks_completed, did.items_completed) == (2, 2, 4)
    released = await api.create(kind)
    await api.release(*await api.claim(kind))
    await api.complete(*await api.claim(kind))
    assert (await api.get(released.job_id)).chunks[0].attempt == 1
    await let_end(api, kind, EXPIRED)
    await let_end(api, kind, TIMED_OUT, attempt_timeout=SECOND)
    found = await stats(api, kind, step=StatsStep.STATS_STEP_DAY)
    did = found.total.activity
    assert (did.chunks.ended, did.chunks.expired, did.chunks.timed_out, did.chunks.retried) == (6, 1, 1, 1)
    assert (did.chunks.processing.count, did.failed_attempts) == (3, 3), "what was released is no attempt"
    times = did.chunks.processing
    assert 0 < times.p50_seconds <= times.p95_seconds <= times.p99_seconds
    assert times.mean_seconds == pytest.approx(times.total_seconds / 3)
    assert sum(point.activity.chunks.ended for point in found.series) == 6


async def test_each_kind_has_a_series_when_asked_for_and_the_last_ones_are_counted(api: Api, kind: str):
    kinds = [f"{kind}.{name}" for name in "abc"]
    for number, one in enumerate(kinds[:2], 1):
        for _ in range(number):
            await fails(api, one, "BOOM")
    await api.create(kinds[2])
    week = {"start_time": datetime.now(UTC) - timedelta(days=7)}
    found = await stats(api, *kinds, step=StatsStep.STATS_STEP_HOUR, time_range=week, series_by_kind=True)
    assert [one.kind for one in found.series_by_kind] == kinds
    assert {len(one.points) for one in found.series_by_kind} == {len(found.series)}
    failed = [sum(point.activity.failed for point in one.points) for one in found.series_by_kind]
    assert failed == [1, 2, 0]
    for points in zip(found.series, *(one.points for one in found.series_by_kind), strict=True):
        assert len({point.start_time.seconds for point in points}) == 1
        whole, *of_kinds = (point.activity.created for point in points)
        assert whole == sum(of_kinds)
    assert found.omitted_series_count == 0
    month = {"start_time": datetime.now(UTC) - timedelta(days=31)}
    found = await stats(api, *kinds, step=StatsStep.STATS_STEP_HOUR, time_range=month, series_by_kind=True)
    assert [one.kind for one in found.series_by_kind] == kinds[:2]
    assert found.omitted_series_count == 1
    assert not (await stats(api, *kinds, series_by_kind=True)).series_by_kind, "without a step"
    assert not (await stats(api, *kinds, step=StatsStep.STATS_STEP_DAY)).series_by_kind
