"""BatchCreateJobs: each job has an outcome of its own, in one commit as far as its rows allow."""

import asyncio
from collections import Counter
from collections.abc import Callable
from uuid import uuid4

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1.error_reason_pb2 import ErrorReason
from jobledger.v1.job_pb2 import Job, JobView
from jobledger.v1.job_service_pb2 import (
    BatchCreateJobsRequest,
    BatchCreateJobsResponse,
    CreateJobRequest,
    CreateJobResult,
    WatchMode,
)
from jobledger_service.core.api.created_jobs import encoded_outcomes
from jobledger_service.core.model.refusals.errors import InvalidField

from tests.support.api import Api
from tests.support.errors import invalid
from tests.support.server import Server

INVALID = grpc.StatusCode.INVALID_ARGUMENT.value[0]
MAX_REPLY_BYTES = 3 * 1024 * 1024


async def create(api: Api, *requests: CreateJobRequest, **fields: object) -> list[CreateJobResult]:
    """Create jobs in one call."""
    return list((await api.jobs.BatchCreateJobs(BatchCreateJobsRequest(requests=requests, **fields))).results)


def reasons(results: list[CreateJobResult]) -> list[str]:
    """Return the reason of each refusal, empty for a job."""
    return [
        ErrorReason.Name(one.error.reason).removeprefix("ERROR_REASON_") if one.HasField("error") else ""
        for one in results
    ]


async def total(api: Api, kind: str) -> int:
    return (await api.list_jobs(filter={"kinds": [kind]})).total_size


@pytest.mark.guarantee("3d.4")
async def test_each_job_is_answered_as_by_create_job(api: Api, kind: str):
    taken = await api.create(kind, job_id=uuid4().hex)
    results = await create(
        api,
        CreateJobRequest(kind=kind, input={"n": 1}, item_count=1_000),
        CreateJobRequest(kind=kind, job_id=taken.job_id),
        CreateJobRequest(kind=kind, job_id=taken.job_id, item_count=3),
        CreateJobRequest(kind=kind, priority=11, labels={"a b": ""}),
        CreateJobRequest(kind=kind, chunks=[{"input": {"page": 1}}]),
    )
    assert reasons(results) == ["", "", "JOB_ALREADY_EXISTS", "INVALID_FIELD", ""]
    assert [one.created for one in results] == [True, False, False, False, True]
    assert results[1].job == taken
    assert dict(results[2].error.metadata) == {"job_id": taken.job_id}
    assert (results[3].error.code, results[3].error.message != "") == (INVALID, True)
    assert sorted(one.field for one in results[3].error.field_violations) == ['labels["a b"]', "priority"]
    assert results[0].job == await api.get(results[0].job.job_id, view=JobView.JOB_VIEW_BASIC)
    assert [dict(chunk.input) for chunk in (await api.get(results[4].job.job_id)).chunks] == [{"page": 1}]
    assert await total(api, kind) == 3


async def test_chunks_of_jobs_that_differ_in_everything_are_written_together(api: Api, kind: str):
    """Each chunk keeps what it has of its own and of its job: place, items, input, attempts, priority and hold."""
    later = Timestamp(seconds=4_000_000_000)
    results = await create(
        api,
        CreateJobRequest(kind=kind, chunks=[{"input": {"n": 1}}, {}, {"input": {"n": 3}}], priority=9),
        CreateJobRequest(kind=kind, item_count=250, chunk_size=100, retry_policy={"max_attempts": 7}),
        CreateJobRequest(kind=kind, item_count=70, chunk_size=1),
        CreateJobRequest(kind=kind, schedule_time=later, priority=10),
        CreateJobRequest(kind=kind, item_count=2, chunk_size=1, finalizer={}),
        CreateJobRequest(kind=f"{kind}-other"),
    )
    assert reasons(results) == [""] * 6
    mixed, items, large, held, fan_in, other = [await api.get(one.job.job_id) for one in results]
    assert [dict(chunk.input) for chunk in mixed.chunks] == [{"n": 1}, {}, {"n": 3}]
    assert [(chunk.first_item, chunk.last_item, chunk.max_attempts) for chunk in items.chunks] == [
        (0, 99, 7),
        (100, 199, 7),
        (200, 249, 7),
    ]
    assert [(chunk.index, chunk.first_item) for chunk in large.chunks] == [(n, n) for n in range(70)]
    assert [bool(chunk.holds) for job in (held, fan_in, other) for chunk in job.chunks] == [
        True,
        False,
        False,
        True,
        False,
    ]
    claimed = [(one.job_id, one.chunk.index) for one in await api.claim(kind, 1_000)]
    assert claimed == [
        *((mixed.job_id, n) for n in range(3)),
        *((items.job_id, n) for n in range(3)),
        *((large.job_id, n) for n in range(70)),
        *((fan_in.job_id, n) for n in range(2)),
    ]
    assert [one.job_id for one in await api.claim(f"{kind}-other", 9)] == [other.job_id]


async def test_five_hundred_jobs_are_one_commit(api: Api, kind: str):
    async with api.watch_jobs(kind, mode=WatchMode.WATCH_MODE_EVERY) as watch:
        await watch.bookmark()
        results = await create(api, *(CreateJobRequest(kind=kind, request_id=f"{kind}-{n}") for n in range(500)))
        assert all(one.created for one in results)
        seen = await watch.changes(500)
    assert [one.job.job_id for one in seen] == [one.job.job_id for one in results]
    assert len({one.event.commit_time.ToNanoseconds() for one in seen}) == 1
    again = await create(api, *(CreateJobRequest(kind=kind, request_id=f"{kind}-{n}") for n in range(500)))
    assert [(one.created, one.job) for one in again] == [(False, one.job) for one in results]


async def test_more_rows_than_a_commit_has_room_for_continue_in_the_next(api: Api, kind: str):
    sizes = [1, 3_000, 400, 1, 1_900, 50, 4_000]
    requests = [CreateJobRequest(kind=kind, item_count=size, chunk_size=1) for size in sizes]
    async with api.watch_jobs(kind, mode=WatchMode.WATCH_MODE_EVERY) as watch:
        await watch.bookmark()
        results = await create(api, *requests)
        seen = await watch.changes(len(sizes))
    assert [one.job.chunks_summary.total for one in results] == sizes
    assert [one.job.revision for one in results] == [1] * len(sizes)
    checked = await create(api, *requests, validate_only=True)
    assert [one.job.chunks_summary.total for one in checked] == sizes
    rows = Counter[int]()
    for one in seen:
        rows[one.event.commit_time.ToNanoseconds()] += 1 + one.job.chunks_summary.total
    assert len(rows) > 1
    assert all(count <= 2_000 or count in {3_001, 4_001} for count in rows.values())


async def test_one_id_twice_in_a_batch_makes_one_job(api: Api, kind: str):
    request = CreateJobRequest(kind=kind, request_id=uuid4().hex)
    other = CreateJobRequest(kind=kind, request_id=request.request_id, item_count=2)
    results = await create(api, request, request, other)
    assert [one.created for one in results] == [True, False, False]
    assert reasons(results) == ["", "", "REQUEST_ID_REUSED"]
    assert results[0].job == results[1].job


async def test_many_callers_at_once_with_the_same_jobs_make_each_once(
    replicas: list[Server], connect: Callable[[Server], Api], kind: str
):
    apis = [connect(server) for server in replicas]
    forward = [CreateJobRequest(kind=kind, job_id=f"{kind}-{n}", item_count=3, chunk_size=1) for n in range(40)]
    orders = [forward, forward[::-1], forward[20:] + forward[:20]]
    answers = await asyncio.gather(*(create(api, *jobs) for jobs in orders for api in apis for _ in range(2)))
    assert not any(one.HasField("error") for results in answers for one in results)
    assert sum(one.created for results in answers for one in results) == 40
    assert await total(apis[0], kind) == 40


async def test_validate_only_checks_each_job_and_writes_nothing(api: Api, kind: str):
    taken = await api.create(kind, job_id=uuid4().hex)
    results = await create(
        api,
        CreateJobRequest(kind=kind, job_id="new"),
        CreateJobRequest(kind=kind, job_id="new", item_count=2),
        CreateJobRequest(kind=kind, job_id=taken.job_id, item_count=2),
        validate_only=True,
    )
    assert [one.created for one in results] == [True, True, False]
    assert reasons(results) == ["", "", "JOB_ALREADY_EXISTS"]
    assert await total(api, kind) == 1


async def test_the_numbers_of_jobs_and_chunks_are_bounded(api: Api, kind: str):
    one = CreateJobRequest(kind=kind)
    with invalid("requests"):
        await create(api)
    with invalid("requests"):
        await create(api, *[one] * 501)
    with invalid("requests"):
        await create(api, *[CreateJobRequest(kind=kind, item_count=5_001, chunk_size=1)] * 2)
    with invalid("requests"):
        await create(api, *[CreateJobRequest(kind=kind, item_count=1_000_000_000, chunk_size=100_000)] * 500)
    assert await total(api, kind) == 0


def test_what_the_answer_has_no_room_for_is_brief():
    labels = {f"{n:02}".ljust(63, "x"): "é" * 255 for n in range(64)}
    jobs = [Job(job_id=f"{n}".ljust(128, "j"), kind="k" * 128, labels=labels, revision=n + 1) for n in range(400)]
    refusal = InvalidField(*((f"labels[{'é' * 200}]", "é" * 400) for _ in range(64)))
    reply = encoded_outcomes([*((job.SerializeToString(), True) for job in jobs), *[refusal] * 100])
    results = BatchCreateJobsResponse.FromString(reply).results
    assert len(reply) <= MAX_REPLY_BYTES
    assert [(one.job.job_id, one.job.kind, one.job.revision) for one in results[:400]] == [
        (job.job_id, job.kind, job.revision) for job in jobs
    ]
    assert (results[0].job, bool(results[399].job.labels)) == (jobs[0], False)
    assert {one.error.reason for one in results[400:]} == {ErrorReason.ERROR_REASON_INVALID_FIELD}
