"""CreateJob: what a new job looks like, and that creating it again makes no second one."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import grpc
import pytest
from jobledger.v1.job_pb2 import FailurePolicy, JobView
from jobledger.v1.job_service_pb2 import CreateJobRequest, GetJobRequest

from tests.support.api import Api
from tests.support.errors import refused
from tests.support.states import CHUNK_PENDING, QUEUED, RUNNING, chunk_states, summary

ALREADY_EXISTS = grpc.StatusCode.ALREADY_EXISTS
OTHER_CONTENT = [
    {"input": {"a": 1}},
    {"item_count": 2},
    {"chunks": [{}]},
    {"chunks": [{"input": {"a": 1}}]},
    {"stages": [{"name": "fetch"}]},
]
ANOTHER_TIME = {
    "display_name": "again",
    "priority": 6,
    "labels": {"try": "2"},
    "limited_labels": ["try"],
    "expire_time": datetime(2100, 1, 1, tzinfo=UTC),
    "retry_policy": {"max_attempts": 7},
    "run_timeout": timedelta(hours=2),
    "attempt_timeout": timedelta(minutes=5),
}


async def test_a_job_of_which_only_the_kind_was_given_has_every_default(api: Api, kind: str):
    answer = await api.jobs.CreateJob(CreateJobRequest(kind=kind))
    job = answer.job
    assert answer.created
    assert UUID(job.job_id).version == 7
    assert (job.kind, job.state, job.priority, job.revision, job.retry_count) == (kind, QUEUED, 5, 1, 0)
    assert job.owner
    assert job.etag
    assert summary(job) == {"total": 1, "pending": 1}
    assert (job.progress.percent, job.progress.items_completed, job.progress.items_total) == (0, 0, 0)
    assert job.HasField("progress")
    assert job.failure_policy == FailurePolicy.FAILURE_POLICY_RUN_ALL
    assert job.create_time == job.update_time
    for absent in ("start_time", "end_time", "expire_time", "run_timeout", "attempt_timeout", "error", "input"):
        assert not job.HasField(absent)
    for empty in ("display_name", "labels", "artifacts", "result_uri", "stages", "stage_timings", "cancel_reason"):
        assert not getattr(job, empty)


async def test_a_retry_policy_that_was_not_given_is_filled_in(api: Api, kind: str):
    policy = (await api.create(kind)).retry_policy
    assert policy.max_attempts == 3
    assert policy.initial_backoff.ToTimedelta() == timedelta(seconds=1)
    assert policy.multiplier == 2
    assert policy.max_backoff.ToTimedelta() == timedelta(minutes=5)
    assert policy.jitter == pytest.approx(0.2)


async def test_a_longer_initial_backoff_raises_the_ceiling_that_was_not_given(api: Api, kind: str):
    policy = (await api.create(kind, retry_policy={"initial_backoff": timedelta(hours=1)})).retry_policy
    assert policy.max_backoff.ToTimedelta() == timedelta(hours=1)


async def test_what_was_given_is_what_is_there(api: Api, kind: str):
    expire_time = datetime(2100, 1, 2, 3, 4, 5, tzinfo=UTC)
    given = {
        "job_id": f"Nightly.{uuid4().hex}:v1_a-b",
        "display_name": "Søren's «photos» 📷 \u202e",
        "priority": 0,
        "labels": {"team/name": "vision", "a.b_c-D": ""},
        "failure_policy": FailurePolicy.FAILURE_POLICY_FAIL_FAST,
        "stages": [{"name": "fetch", "weight": 0.5}, {"name": "index"}],
        "retry_policy": {"max_attempts": 7, "initial_backoff": timedelta(0), "multiplier": 1, "jitter": 0},
        "expire_time": expire_time,
        "run_timeout": timedelta(seconds=1),
        "attempt_timeout": timedelta(days=366),
        "input": {"url": "https://example.com", "deep": [1, None, {"x": True, "π": 3.5}]},
        "item_count": 3,
        "chunk_size": 2,
    }
    job = await api.get((await api.create(kind, **given)).job_id)
    expected = CreateJobRequest(kind=kind, **given)
    for name in ("job_id", "kind", "display_name", "priority", "failure_policy", "input", "labels", "expire_time"):
        assert getattr(job, name) == getattr(expected, name), name
    assert [(stage.name, stage.weight) for stage in job.stages] == [("fetch", 0.5), ("index", 1)]
    assert (job.retry_policy.max_attempts, job.retry_policy.multiplier, job.retry_policy.jitter) == (7, 1, 0)
    assert job.retry_policy.initial_backoff.ToTimedelta() == timedelta(0)
    assert (job.run_timeout, job.attempt_timeout) == (expected.run_timeout, expected.attempt_timeout)
    assert {chunk.max_attempts for chunk in job.chunks} == {7}


async def test_the_answer_is_the_job_in_view_basic(api: Api, kind: str):
    created = await api.create(kind, input={"a": 1}, item_count=1_000)
    request = GetJobRequest(job_id=created.job_id, view=JobView.JOB_VIEW_BASIC)
    assert created == (await api.jobs.GetJob(request)).job
    assert not created.HasField("input")
    assert not created.chunks


@pytest.mark.parametrize(
    ("items", "size", "spans"),
    [(1, 500, [(0, 0)]), (7, 3, [(0, 2), (3, 5), (6, 6)]), (6, 3, [(0, 2), (3, 5)]), (5, 1_000_000_000, [(0, 4)])],
)
async def test_items_are_cut_into_chunks(api: Api, kind: str, items: int, size: int, spans: list[tuple[int, int]]):
    job = await api.get((await api.create(kind, item_count=items, chunk_size=size)).job_id)
    assert [(chunk.first_item, chunk.last_item) for chunk in job.chunks] == spans
    assert job.progress.items_total == items
    assert chunk_states(job) == [CHUNK_PENDING] * len(spans)


async def test_a_new_chunk_has_not_begun(api: Api, kind: str):
    job = await api.get((await api.create(kind)).job_id)
    [chunk] = job.chunks
    assert (chunk.attempt, chunk.max_attempts, chunk.worker, chunk.task_id) == (0, 3, "", "")
    assert chunk.create_time == job.create_time
    assert chunk.HasField("progress")
    for absent in (
        "first_item", "last_item", "input", "error", "start_time", "end_time", "lease_expire_time", "next_attempt_time",
    ):  # fmt: skip
        assert not chunk.HasField(absent)


async def test_explicit_chunks_have_their_own_inputs_and_items(api: Api, kind: str):
    specs = [{"input": {"page": 1}, "item_count": 10}, {"input": {"page": 2}}, {"item_count": 5}]
    job = await api.get((await api.create(kind, chunks=specs)).job_id)
    assert [dict(chunk.input) for chunk in job.chunks] == [{"page": 1}, {"page": 2}, {}]
    assert [chunk.HasField("input") for chunk in job.chunks] == [True, True, False]
    assert [(chunk.first_item, chunk.last_item) for chunk in job.chunks] == [(0, 9), (10, 10), (11, 15)]
    assert job.progress.items_total == 16


async def test_ten_thousand_chunks_are_the_most(api: Api, kind: str):
    job = await api.create(kind, item_count=1_000_000_000, chunk_size=100_000)
    assert summary(job) == {"total": 10_000, "pending": 10_000}


async def test_the_same_request_id_answers_with_the_same_job_as_it_is_now(api: Api, kind: str):
    request = CreateJobRequest(kind=kind, request_id=uuid4().hex, item_count=3, labels={"a": "b"})
    first = await api.jobs.CreateJob(request)
    await api.claim(kind)
    second = await api.jobs.CreateJob(request)
    assert (first.created, second.created) == (True, False)
    assert second.job.job_id == first.job.job_id
    assert second.job.state == RUNNING


@pytest.mark.parametrize("change", OTHER_CONTENT)
async def test_the_same_job_id_with_other_content_is_refused(api: Api, kind: str, change: dict[str, object]):
    job = await api.create(kind, job_id=uuid4().hex)
    with refused(ALREADY_EXISTS, "JOB_ALREADY_EXISTS") as result:
        await api.create(kind, job_id=job.job_id, **change)
    assert result.metadata["job_id"] == job.job_id
    assert (await api.get(job.job_id)).revision == 1


@pytest.mark.parametrize("change", [*OTHER_CONTENT, {"job_id": "another"}])
async def test_the_same_request_id_with_other_content_is_refused(api: Api, kind: str, change: dict[str, object]):
    request_id = uuid4().hex
    job = await api.create(kind, request_id=request_id)
    with refused(ALREADY_EXISTS, "REQUEST_ID_REUSED") as result:
        await api.create(kind, request_id=request_id, **change)
    assert result.metadata == {"request_id": request_id, "job_id": job.job_id}
    assert (await api.list_jobs(filter={"kinds": [kind]})).total_size == 1


@pytest.mark.guarantee("3d.4")
@pytest.mark.parametrize("name", ["request_id", "job_id"])
async def test_what_a_retry_computes_again_is_no_other_content(api: Api, kind: str, name: str):
    request = CreateJobRequest(kind=kind, input={"a": 1}, item_count=600, stages=[{"name": "x"}], **{name: uuid4().hex})
    first = await api.jobs.CreateJob(request)
    request.MergeFrom(CreateJobRequest(chunk_size=500, **ANOTHER_TIME))
    again = await api.jobs.CreateJob(request)
    assert (first.created, again.created) == (True, False)
    assert again.job == first.job, "the job that exists is unchanged"


@pytest.mark.parametrize("name", ["request_id", "job_id"])
async def test_many_callers_at_once_with_one_id_make_one_job(api: Api, kind: str, name: str):
    request = CreateJobRequest(kind=kind, **{name: uuid4().hex})
    answers = await asyncio.gather(*(api.jobs.CreateJob(request) for _ in range(20)))
    assert sum(answer.created for answer in answers) == 1
    assert len({answer.job.job_id for answer in answers}) == 1
