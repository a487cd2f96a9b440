"""UpdateJob changes time-outs and the retry policy: what holds for attempts, waits and runs, at every replica."""

from datetime import timedelta

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from jobledger.v1.bulk_pb2 import UpdateJobsRequest
from jobledger.v1.chunk_pb2 import Chunk, RetryPolicy
from jobledger.v1.event_pb2 import ChangeType
from jobledger.v1.job_pb2 import Job
from jobledger.v1.worker_service_pb2 import ClaimedChunk

from tests.access.conftest import As, Keyed
from tests.support.errors import invalid, refused
from tests.support.keys import CALLER, WORKER, KeyedApi
from tests.support.states import (
    CANCELLED,
    CANCELLING,
    CHUNK_FAILED,
    CHUNK_PENDING,
    COMPLETED,
    FAILED,
    OK,
    QUEUED,
    RUNNING,
)

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
SETTINGS = ("retry_policy", "run_timeout", "attempt_timeout")
CALM = {"initial_backoff": HOUR, "max_backoff": HOUR, "jitter": 0}
UPDATED = ChangeType.CHANGE_TYPE_UPDATED
LEASE_EXPIRED = ChangeType.CHANGE_TYPE_LEASE_EXPIRED
LARGE = 3_000


@pytest.fixture
async def apis(keyed: Keyed, admin: KeyedApi, as_holder: As, owner: str) -> tuple[KeyedApi, KeyedApi]:
    """Return the same owner's API of the first server, and of the last."""
    token = (await admin.make(CALLER, WORKER, owner=f"{owner}-s")).token
    return as_holder(keyed.replicas[0], token), as_holder(keyed.replicas[-1], token)


@pytest.fixture
def mine(apis: tuple[KeyedApi, KeyedApi]) -> KeyedApi:
    return apis[0]


async def update(api: KeyedApi, job_id: str, **fields: object) -> Job:
    reason = fields.pop("reason", "")
    return await api.update(job_id, update_mask={"paths": sorted(fields)}, reason=reason, **fields)


def settings_of(job: Job) -> tuple[RetryPolicy, Duration, Duration]:
    return job.retry_policy, job.run_timeout, job.attempt_timeout


async def chunks_of(api: KeyedApi, job_id: str) -> list[Chunk]:
    return list((await api.list_chunks(job_id, page_size=1_000)).chunks)


def time_of(claimed: ClaimedChunk, end: object) -> timedelta:
    return end.ToDatetime() - claimed.chunk.start_time.ToDatetime()


@pytest.mark.guarantee("3b.8")
async def test_new_settings_hold_at_every_replica_and_not_for_the_job_of_another_owner(
    apis: tuple[KeyedApi, KeyedApi], theirs: KeyedApi, kind: str
):
    here, there = apis
    jobs = {api: await api.create(kind, job_id=kind, item_count=4, chunk_size=1) for api in (here, theirs)}
    async with there.watch_job(kind) as watch:
        await watch.message()
        [began] = await there.claim(kind, lease_duration=MINUTE)
        policy = {"max_attempts": 7, "multiplier": 3}
        changed = await update(here, kind, retry_policy=policy, run_timeout=HOUR, attempt_timeout=MINUTE, reason="slow")
        message = await watch.until(lambda message: any(one.type == UPDATED for one in message.event.changes))
    assert (changed.retry_policy.max_attempts, changed.retry_policy.multiplier) == (7, 3)
    assert (changed.retry_policy.max_backoff, changed.retry_policy.jitter) == (
        jobs[here].retry_policy.max_backoff,
        jobs[here].retry_policy.jitter,
    )
    assert (changed.run_timeout.ToTimedelta(), changed.attempt_timeout.ToTimedelta()) == (HOUR, MINUTE)
    assert [change.reason for change in message.event.changes] == [f"{', '.join(sorted(SETTINGS))}; slow"]
    shown = [message.job, await there.get(kind), (await there.list_jobs(filter={"kinds": [kind]})).jobs[0]]
    assert [settings_of(job) for job in shown] == [settings_of(changed)] * 3
    assert [chunk.max_attempts for chunk in await chunks_of(there, kind)] == [7] * 4

    kept = await there.report(began, lease_duration=HOUR)
    assert (kept.status, time_of(began, kept.expire_time) >= HOUR) == (OK, True)
    [later] = await there.claim(kind, lease_duration=HOUR)
    assert (later.chunk.max_attempts, time_of(later, later.lease.expire_time)) == (7, MINUTE)

    await update(there, kind, attempt_timeout=None, run_timeout=None)
    job = await here.get(kind)
    assert (job.HasField("attempt_timeout"), job.HasField("run_timeout")) == (False, False)
    extended = await here.report(later, lease_duration=HOUR)
    assert time_of(later, extended.expire_time) == MINUTE
    [last] = await here.claim(kind, lease_duration=HOUR)
    assert time_of(last, last.lease.expire_time) == HOUR

    assert settings_of(await theirs.get(kind)) == settings_of(jobs[theirs])
    [claimed] = await theirs.claim(kind, lease_duration=HOUR)
    assert (claimed.chunk.max_attempts, time_of(claimed, claimed.lease.expire_time)) == (3, HOUR)


async def test_a_new_maximum_counts_the_attempts_of_the_run_and_waits_that_began_stay(mine: KeyedApi, kind: str):
    await mine.create(kind, job_id=kind, chunks=[{}, {}, {}], retry_policy={"max_attempts": 3, **CALM})
    waiting, working, failed = await mine.claim(kind, 3)
    await mine.fail(waiting)
    await mine.fail(failed, not_retryable=True)
    before = await chunks_of(mine, kind)
    await update(mine, kind, retry_policy={"max_attempts": 1, "initial_backoff": timedelta(0)})
    chunks = await chunks_of(mine, kind)
    assert [chunk.max_attempts for chunk in chunks] == [1, 1, 3]
    assert [chunk.next_attempt_time for chunk in chunks] == [chunk.next_attempt_time for chunk in before]
    assert [chunk.state for chunk in chunks] == [chunk.state for chunk in before]
    assert (await mine.fail(working))[0].chunk_state == CHUNK_FAILED
    assert (await chunks_of(mine, kind))[0].state == CHUNK_PENDING
    await update(mine, kind, retry_policy={"max_attempts": 2, **CALM})
    assert [chunk.max_attempts for chunk in await chunks_of(mine, kind)] == [2, 1, 3]


async def test_the_last_attempt_of_a_lowered_maximum_is_the_one_that_was_waited_for(mine: KeyedApi, kind: str):
    policy = {"max_attempts": 3, "initial_backoff": timedelta(0)}
    await mine.create(kind, job_id=kind, retry_policy=policy)
    await mine.fail(*await mine.claim(kind))
    await mine.fail(*await mine.claim(kind))
    await update(mine, kind, retry_policy={**policy, "max_attempts": 1})
    [claimed] = await mine.claim(kind)
    assert (claimed.chunk.attempt, claimed.chunk.max_attempts) == (3, 1)
    assert (await mine.fail(claimed))[0].chunk_state == CHUNK_FAILED
    await update(mine, kind, retry_policy={**policy, "max_attempts": 5})
    await mine.retry(kind)
    assert (await chunks_of(mine, kind))[0].max_attempts == 8


async def test_all_chunks_of_a_large_job_follow(mine: KeyedApi, theirs: KeyedApi, kind: str):
    for api in (mine, theirs):
        await api.create(kind, job_id=kind, item_count=LARGE, chunk_size=1)
    claimed = await mine.claim(kind, 5)
    await mine.complete(claimed[0])
    await update(mine, kind, retry_policy={"max_attempts": 9})
    for api, expected in (mine, [3] + [9] * 999), (theirs, [3] * 1_000):
        assert [chunk.max_attempts for chunk in await chunks_of(api, kind)] == expected
    [claimed] = await mine.claim(kind)
    assert claimed.chunk.max_attempts == 9


async def test_a_run_that_would_be_over_already_is_refused_and_changes_nothing(mine: KeyedApi, kind: str):
    await mine.create(kind, job_id=kind, chunks=[{}, {}], retry_policy=CALM)
    async with mine.watch_job(kind) as watch:
        await watch.message()
        await mine.claim(kind, 2, lease_duration=SECOND)  # the run has taken a second when one has expired
        await watch.until(lambda message: any(one.type == LEASE_EXPIRED for one in message.event.changes))
    job = await mine.get(kind)
    with invalid("run_timeout"):
        await update(mine, kind, run_timeout=SECOND, retry_policy=None)
    assert settings_of(await mine.get(kind)) == settings_of(job)
    assert (await update(mine, kind, run_timeout=HOUR)).run_timeout.ToTimedelta() == HOUR


async def test_a_queued_job_has_the_new_limits_from_its_first_claim_on(mine: KeyedApi, kind: str):
    await mine.create(kind, job_id=kind)
    await update(mine, kind, run_timeout=SECOND)
    async with mine.watch_job(kind) as watch:
        await watch.message()
        await mine.claim(kind, lease_duration=HOUR)
        last = (await watch.rest())[-1].job
    assert (last.state, last.error.code) == (FAILED, "TIMED_OUT")
    assert last.error.message == "the job ran longer than its run_timeout of 1s"


@pytest.mark.parametrize("state", [QUEUED, RUNNING, CANCELLING, FAILED, CANCELLED])
async def test_settings_change_in_every_state_but_the_final_one(mine: KeyedApi, kind: str, state: int):
    job = await mine.job_in(state, kind)
    changed = await update(mine, job.job_id, attempt_timeout=MINUTE, run_timeout=HOUR, retry_policy={"max_attempts": 2})
    assert (changed.state, changed.retry_policy.max_attempts, changed.revision) == (state, 2, job.revision + 1)
    assert changed.etag != job.etag
    again = await update(mine, job.job_id, attempt_timeout=MINUTE, run_timeout=HOUR, retry_policy={"max_attempts": 2})
    assert again.revision == changed.revision


async def test_a_completed_job_and_the_services_own_refuse_new_settings(mine: KeyedApi, kind: str):
    job = await mine.job_in(COMPLETED, kind)
    for field in SETTINGS:
        value = {"max_attempts": 9} if field == "retry_policy" else MINUTE
        with refused(grpc.StatusCode.FAILED_PRECONDITION, "JOB_ENDED"):
            await update(mine, job.job_id, **{field: value})
    await mine.create(kind, job_id=kind)
    fields = {"run_timeout": HOUR, "attempt_timeout": MINUTE, "retry_policy": {"max_attempts": 2}}
    request = UpdateJobsRequest(filter={"kinds": [kind]}, update_mask={"paths": [*fields]}, **fields)
    run = (await mine.jobs.UpdateJobs(request)).job
    async with mine.watch_job(run.job_id) as watch:
        last = (await watch.rest())[-1].job
    counts = last.artifacts["report"].metadata
    assert (counts["applied"], counts["refused"]) == (1, 1)
    changed = await mine.get(kind)
    assert (changed.run_timeout.ToTimedelta(), changed.retry_policy.max_attempts) == (HOUR, 2)
    with invalid("run_timeout"):
        await update(mine, run.job_id, run_timeout=HOUR)


async def test_settings_that_break_a_rule_are_refused_and_change_nothing(mine: KeyedApi, kind: str):
    job = await mine.create(kind)
    rules = [
        ("run_timeout", {"run_timeout": timedelta(milliseconds=999)}),
        ("run_timeout", {"run_timeout": timedelta(days=366, microseconds=1)}),
        ("attempt_timeout", {"attempt_timeout": timedelta(0)}),
        ("retry_policy.max_attempts", {"retry_policy": {"max_attempts": 0}}),
        ("retry_policy.jitter", {"retry_policy": {"jitter": 1.5}}),
        ("retry_policy.max_backoff", {"retry_policy": {"initial_backoff": HOUR, "max_backoff": MINUTE}}),
        ("update_mask", {"failure_policy": None}),
        ("update_mask", {"retry_policy.max_attempts": None}),
    ]
    for field, fields in rules:
        with invalid(field):
            present = {name: value for name, value in fields.items() if value is not None}
            await mine.update(job.job_id, update_mask={"paths": [*fields]}, **present)
    assert (await mine.get(job.job_id)).revision == 1
