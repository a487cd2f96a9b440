"""ListAttempts: every try at a chunk - whose it was, when, and how it ended - and the jobs of an engine's task."""

from datetime import timedelta
from uuid import uuid4

import grpc
import pytest
from jobledger.v1.chunk_pb2 import Attempt, AttemptOutcome
from jobledger.v1.event_pb2 import Change, ChangeType
from jobledger.v1.export_pb2 import ExportJobsRequest
from jobledger.v1.job_pb2 import FailurePolicy, JobView
from jobledger.v1.job_service_pb2 import ListAttemptsRequest, ListJobsRequest, WatchJobsRequest
from jobledger.v1.worker_service_pb2 import ClaimChunkRequest, ClaimedChunk

from tests.support.api import Api
from tests.support.bounds import BOUND
from tests.support.errors import invalid, refused
from tests.support.pages import pages_of
from tests.support.states import CANCELLED, CHUNK_CANCELLED, COMPLETED, FAILED

AT_ONCE = {"initial_backoff": timedelta(0), "max_attempts": 100}
LASTS = AttemptOutcome.ATTEMPT_OUTCOME_UNSPECIFIED
DONE = AttemptOutcome.ATTEMPT_OUTCOME_COMPLETED
FAILURE = AttemptOutcome.ATTEMPT_OUTCOME_FAILED
EXPIRED = AttemptOutcome.ATTEMPT_OUTCOME_EXPIRED
RELEASED = AttemptOutcome.ATTEMPT_OUTCOME_RELEASED
STOPPED = AttemptOutcome.ATTEMPT_OUTCOME_CANCELLED


async def attempts(api: Api, job_id: str, page_size: int = 0, **fields: object) -> list[Attempt]:
    """Return the attempts at a job's chunks, read page by page."""
    found: list[Attempt] = []
    async for page in pages_of(
        api.jobs.ListAttempts, ListAttemptsRequest(job_id=job_id, page_size=page_size, **fields)
    ):
        assert not page.unreadable_chunk_indexes
        assert len(page.attempts) <= (page_size or 100)
        found += page.attempts
    return found


async def outcomes(api: Api, job_id: str, **fields: object) -> list[tuple[int, int, AttemptOutcome]]:
    """Return chunk, number and outcome of each attempt."""
    return [(one.chunk_index, one.number, one.outcome) for one in await attempts(api, job_id, **fields)]


async def claim_one(api: Api, job_id: str, task_id: str, index: int = 0, worker: str = "engine") -> ClaimedChunk:
    """Claim a named chunk for a task."""
    request = ClaimChunkRequest(job_id=job_id, chunk_index=index, worker=worker, task_id=task_id)
    return (await api.work.ClaimChunk(request)).chunk


async def changes(api: Api, job_id: str) -> list[Change]:
    """Return what happened to a job."""
    events = (await api.list_events(job_id, page_size=500)).events
    return [change for event in events for change in event.changes]


@pytest.mark.guarantee("3c.12")
async def test_each_attempt_is_kept_as_it_ended(api: Api, kind: str):
    job = await api.create(kind, retry_policy=AT_ONCE)
    assert await attempts(api, job.job_id) == []
    await api.fail(await claim_one(api, job.job_id, "t1", worker="a"), code="OOM")
    failed = (await api.get(job.job_id)).chunks[0]
    await api.release(await claim_one(api, job.job_id, "t2", worker="b"))
    released = (await api.get(job.job_id)).chunks[0]
    lease = {"lease_duration": timedelta(seconds=1)}
    async with api.watch_job(job.job_id) as watch:
        await api.claim(kind, worker="c", **lease)
        await watch.until(lambda m: any(one.type == ChangeType.CHANGE_TYPE_LEASE_EXPIRED for one in m.event.changes))
    [last] = await api.claim(kind, worker="d", wait=timedelta(seconds=BOUND))
    running = await attempts(api, job.job_id)
    assert (running[-1].outcome, running[-1].HasField("end_time")) == (LASTS, False)
    await api.complete(last)

    first, second, third, fourth = await attempts(api, job.job_id)
    assert running[:3] == [first, second, third], "what is kept does not change"
    assert [one.number for one in (first, second, third, fourth)] == [1, 2, 3, 4]
    assert [one.outcome for one in (first, second, third, fourth)] == [FAILURE, RELEASED, EXPIRED, DONE]
    assert [one.worker for one in (first, second, third, fourth)] == ["a", "b", "c", "d"]
    assert [one.task_id for one in (first, second, third, fourth)] == ["t1", "t2", "", ""]
    assert [one.error.code for one in (first, second, third, fourth)] == ["OOM", "", "LEASE_EXPIRED", ""]
    assert [one.HasField("error") for one in (second, fourth)] == [False, False]
    assert (first.start_time, second.start_time) == (failed.start_time, released.start_time)
    chunk = (await api.get(job.job_id)).chunks[0]
    assert (chunk.attempt, fourth.start_time, fourth.end_time) == (3, chunk.start_time, chunk.end_time)
    for one, after in ((first, second), (second, third), (third, fourth)):
        assert one.start_time.ToNanoseconds() <= one.end_time.ToNanoseconds() <= after.start_time.ToNanoseconds()


async def test_changes_name_the_attempt_and_its_task(api: Api, kind: str):
    job = await api.create(kind, retry_policy=AT_ONCE)
    await api.release(await claim_one(api, job.job_id, "t1"))
    await api.fail(await claim_one(api, job.job_id, "t2"))
    await api.complete(await claim_one(api, job.job_id, "t3"))
    created, *others = await changes(api, job.job_id)
    assert (created.HasField("attempt"), created.task_id) == (False, "")
    named = [(ChangeType.Name(one.type).removeprefix("CHANGE_TYPE_"), one.attempt, one.task_id) for one in others]
    assert named == [
        ("CLAIMED", 1, "t1"),
        ("CHUNK_RELEASED", 1, "t1"),
        ("CLAIMED", 2, "t2"),
        ("CHUNK_FAILED", 2, "t2"),
        ("CLAIMED", 3, "t3"),
        ("CHUNK_COMPLETED", 3, "t3"),
    ]


async def test_a_workers_own_code_is_no_time_limit_of_the_ledger(api: Api, kind: str):
    job = await api.create(kind, retry_policy=AT_ONCE)
    await api.fail(*await api.claim(kind), code="TIMED_OUT")
    await api.fail(*await api.claim(kind), code="LEASE_EXPIRED")
    assert await outcomes(api, job.job_id) == [(0, 1, FAILURE), (0, 2, FAILURE)]


async def test_the_attempts_that_a_cancellation_stops_are_cancelled(api: Api, kind: str):
    job = await api.create(kind, item_count=5, chunk_size=1, retry_policy=AT_ONCE)
    claimed = await api.claim(kind, 4)
    await api.complete(claimed[0])
    await api.fail(claimed[1])
    await api.cancel(job.job_id)
    await api.fail(claimed[2], code="STOPPED")
    await api.cancel(job.job_id, force=True)
    job = await api.get(job.job_id)
    assert (job.state, job.chunks[4].state) == (CANCELLED, CHUNK_CANCELLED)
    found = await attempts(api, job.job_id)
    assert [(one.chunk_index, one.outcome) for one in found] == [(0, DONE), (1, FAILURE), (2, FAILURE), (3, STOPPED)]
    assert [one.end_time for one in found[2:]] == [chunk.end_time for chunk in job.chunks[2:4]]
    assert found[1].end_time.ToNanoseconds() < job.chunks[1].end_time.ToNanoseconds(), "the chunk ended with its job"

    await api.retry(job.job_id)
    await api.complete(*await api.claim(kind, 4))
    again = await attempts(api, job.job_id)
    assert [one for one in again if (one.chunk_index, one.number) in {(0, 1), (1, 1), (2, 1), (3, 1)}] == found
    ended = [(one.chunk_index, one.number) for one in again if one.outcome == DONE]
    assert ended == [(0, 1), (1, 2), (2, 2), (3, 2), (4, 1)]


async def test_a_failure_that_stops_the_others_cancels_their_attempts(api: Api, kind: str):
    job = await api.create(kind, item_count=3, chunk_size=1, failure_policy=FailurePolicy.FAILURE_POLICY_FAIL_FAST)
    claimed = await api.claim(kind, 2)
    await api.fail(claimed[0], not_retryable=True)
    assert await outcomes(api, job.job_id) == [(0, 1, FAILURE), (1, 1, STOPPED)]


async def test_a_named_chunk_that_goes_again_keeps_its_attempt(api: Api, kind: str):
    job = await api.create(kind, item_count=2, chunk_size=1)
    failed, _ = await api.claim(kind, 2)
    await api.fail(failed, not_retryable=True)
    await api.retry(job.job_id, chunk_indexes=[0])
    assert await outcomes(api, job.job_id) == [(0, 1, FAILURE), (1, 1, LASTS)]
    await api.claim(kind)
    assert await outcomes(api, job.job_id) == [(0, 1, FAILURE), (0, 2, LASTS), (1, 1, LASTS)]


async def test_pages_follow_on_and_are_of_one_chunk_or_all(api: Api, kind: str):
    job = await api.create(kind, item_count=3, chunk_size=1, retry_policy=AT_ONCE)
    for _ in range(4):
        await api.fail(*await api.claim(kind, 3))
    await api.claim(kind, 3)
    expected = [(index, number, LASTS if number == 5 else FAILURE) for index in range(3) for number in range(1, 6)]
    for page_size in (1, 2, 7, 0):
        assert await outcomes(api, job.job_id, page_size=page_size) == expected
    assert await outcomes(api, job.job_id, chunk_index=1, page_size=2) == expected[5:10]
    assert await outcomes(api, job.job_id, chunk_index=3) == []


async def test_a_chunk_keeps_its_last_attempts(api: Api, kind: str):
    job = await api.create(kind, retry_policy=AT_ONCE)
    for _ in range(23):
        await api.fail(*await api.claim(kind))
    assert [one.number for one in await attempts(api, job.job_id)] == list(range(4, 24))
    await api.claim(kind)
    assert [one.number for one in await attempts(api, job.job_id)] == list(range(5, 25))


async def last_of(api: Api, job_id: str) -> list[tuple[int, int, AttemptOutcome]]:
    """Return the attempts that a job shows."""
    return [(one.chunk_index, one.number, one.outcome) for one in (await api.get(job_id)).attempts]


async def test_a_job_shows_its_last_attempts(api: Api, kind: str):
    job = await api.create(kind, item_count=2, chunk_size=1, retry_policy=AT_ONCE)
    assert await last_of(api, job.job_id) == []
    first, second = await api.claim(kind, 2)
    assert await last_of(api, job.job_id) == [(0, 1, LASTS), (1, 1, LASTS)]
    await api.complete(second)
    for number in range(1, 4):
        await api.fail(first)
        [first] = await api.claim(kind)
        assert (await last_of(api, job.job_id))[:2] == [(0, number + 1, LASTS), (0, number, FAILURE)]
    expected = [(0, 4, LASTS), (0, 3, FAILURE), (0, 2, FAILURE), (0, 1, FAILURE), (1, 1, DONE)]
    assert await last_of(api, job.job_id) == expected
    await api.fail(first)
    assert await last_of(api, job.job_id) == [(0, n, FAILURE) for n in (4, 3, 2, 1)] + [(1, 1, DONE)]
    shown = (await api.get(job.job_id)).attempts
    assert sorted(shown, key=lambda one: (one.chunk_index, one.number)) == await attempts(api, job.job_id)


async def test_view_full_shows_the_last_attempts_wherever_it_is_asked_for(api: Api, kind: str):
    job = await api.create(kind, retry_policy=AT_ONCE)
    await api.fail(*await api.claim(kind))
    await api.claim(kind)
    for view in (JobView.JOB_VIEW_BASIC, JobView.JOB_VIEW_STATUS):
        assert not (await api.get(job.job_id, view=view)).attempts
    [batched] = (await api.batch_get(job_ids=[job.job_id])).jobs
    request = ListJobsRequest(filter={"kinds": [kind]}, view=JobView.JOB_VIEW_FULL)
    [listed] = (await api.jobs.ListJobs(request)).jobs
    async with api.watch_job(job.job_id) as watch:
        watched = (await watch.message()).job
    assert [len(one.chunks) for one in (batched, listed, watched)] == [1, 1, 1]
    shown = (await api.get(job.job_id)).attempts
    assert [(one.number, one.outcome) for one in shown] == [(2, LASTS), (1, FAILURE)]
    assert [one.attempts for one in (batched, listed, watched)] == [shown] * 3


@pytest.mark.guarantee("3d.8")
async def test_a_job_that_is_created_again_does_not_have_the_attempts_of_the_one_before(api: Api, kind: str):
    job_id = uuid4().hex
    for fields in ({}, {"item_count": 2, "chunk_size": 1}):
        await api.create(kind, job_id=job_id, retry_policy=AT_ONCE, **fields)
        assert await attempts(api, job_id) == []
        for _ in range(3):
            await api.fail(*await api.claim(kind))
        await api.delete(job_id, force=True)
        with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
            await attempts(api, job_id)


async def listed(api: Api, task_id: str, **fields: object) -> list[str]:
    """Return the ids of the jobs of a task, read one by one."""
    request = ListJobsRequest(filter={"task_id": task_id, **fields}, page_size=1)
    pages = [page async for page in pages_of(api.jobs.ListJobs, request)]
    job_ids = [job.job_id for page in pages for job in page.jobs]
    assert pages[-1].total_size == len(job_ids)
    return job_ids


async def test_jobs_and_attempts_are_found_by_their_task(api: Api, kind: str):
    task, other = uuid4().hex, uuid4().hex
    first, second, third = [await api.create(kind, retry_policy=AT_ONCE) for _ in range(3)]
    await api.fail(await claim_one(api, first.job_id, task))
    await claim_one(api, first.job_id, other)
    await api.complete(await claim_one(api, second.job_id, task))
    await claim_one(api, third.job_id, other)
    assert await listed(api, task) == [second.job_id, first.job_id]
    assert await listed(api, other) == [third.job_id, first.job_id]
    assert await listed(api, task, kinds=[kind], states=[COMPLETED]) == [second.job_id]
    assert await listed(api, task, states=[FAILED]) == []
    assert await listed(api, uuid4().hex) == []
    assert await outcomes(api, first.job_id, task_id=task) == [(0, 1, FAILURE)]
    assert await outcomes(api, first.job_id, task_id=other, chunk_index=0) == [(0, 2, LASTS)]
    await api.delete(first.job_id, force=True)
    assert await listed(api, task) == [second.job_id]


async def test_a_request_that_breaks_a_rule_is_refused(api: Api, kind: str):
    job = await api.create(kind)
    for field, broken in [
        ("job_id", {"job_id": ""}),
        ("chunk_index", {"chunk_index": -1}),
        ("page_size", {"page_size": -1}),
        ("task_id", {"task_id": "x" * 257}),
    ]:
        with invalid(field):
            await api.jobs.ListAttempts(ListAttemptsRequest(**({"job_id": job.job_id} | broken)))
    with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
        await attempts(api, uuid4().hex)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
        await api.jobs.ListAttempts(ListAttemptsRequest(job_id=job.job_id, page_token="x"))
    with invalid("filter.task_id"):
        await listed(api, "x" * 257)
    with invalid("filter.task_id"):
        await anext(aiter(api.jobs.WatchJobs(WatchJobsRequest(filter={"task_id": "t"}))))
    with invalid("filter.task_id"):
        await anext(aiter(api.jobs.ExportJobs(ExportJobsRequest(filter={"task_id": "t"}, format="EXPORT_FORMAT_CSV"))))


async def test_a_page_token_is_of_its_own_request(api: Api, kind: str):
    job = await api.create(kind, item_count=2, chunk_size=1)
    await api.claim(kind, 2)
    request = ListAttemptsRequest(job_id=job.job_id, page_size=1)
    request.page_token = (await api.jobs.ListAttempts(request)).next_page_token
    assert request.page_token
    for changed in ({"chunk_index": 0}, {"task_id": "t"}, {"job_id": (await api.create(kind)).job_id}):
        other = ListAttemptsRequest()
        other.CopyFrom(request)
        other.MergeFrom(ListAttemptsRequest(**changed))
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
            await api.jobs.ListAttempts(other)
