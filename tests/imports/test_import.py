"""ImportJobs: jobs of another system come with their times and ends, each once, and a broken one hinders no other."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from jobledger.v1.chunk_pb2 import Artifact, ChunkState, WorkError
from jobledger.v1.error_reason_pb2 import ErrorReason
from jobledger.v1.event_pb2 import CHANGE_TYPE_IMPORTED
from jobledger.v1.import_service_pb2 import ImportedChunk, ImportedJob, ImportJobsRequest, ImportJobsResponse
from jobledger.v1.import_service_pb2_grpc import ImportServiceStub
from jobledger.v1.job_service_pb2 import CreateJobRequest

from tests.support.api import Api
from tests.support.errors import invalid
from tests.support.states import CANCELLED, COMPLETED, FAILED, QUEUED, RUNNING, summary

DONE, BROKEN = ChunkState.CHUNK_STATE_COMPLETED, ChunkState.CHUNK_STATE_FAILED
STOPPED = ChunkState.CHUNK_STATE_CANCELLED
ALREADY_EXISTS, INVALID_FIELD = ErrorReason.ERROR_REASON_JOB_ALREADY_EXISTS, ErrorReason.ERROR_REASON_INVALID_FIELD
CREATED = datetime(2024, 3, 1, 12, tzinfo=UTC)
STARTED, ENDED = CREATED + timedelta(minutes=5), CREATED + timedelta(hours=1)


def past(
    job_id: str, kind: str, state: int = COMPLETED, *, job: dict[str, Any] | None = None, **fields: Any
) -> ImportedJob:
    """Return a job as it ended long ago."""
    reported = CreateJobRequest(job_id=job_id, kind=kind, **(job or {}))
    times = {"create_time": CREATED} | ({} if state == QUEUED else {"start_time": STARTED, "end_time": ENDED})
    error = {"error": WorkError(code="BOOM", message="it broke")} if state == FAILED else {}
    return ImportedJob(job=reported, state=state, **(times | error | fields))


async def send(api: Api, *messages: Iterable[ImportedJob]) -> ImportJobsResponse:
    requests = [ImportJobsRequest(jobs=jobs) for jobs in messages]
    return await ImportServiceStub(api.channel).ImportJobs(iter(requests))


async def test_a_completed_job_is_there_as_it_ended(api: Api, kind: str):
    one = past(
        kind, kind, result_uri="https://x.example/r.mp4", retry_count=2,
        artifacts={"thumb": Artifact(uri="https://x.example/t.png", size_bytes=7)},
        job={"item_count": 1_200, "display_name": "old one", "labels": {"team": "a"}, "priority": 8},
    )  # fmt: skip
    assert await send(api, [one]) == ImportJobsResponse(imported=1)
    job = await api.get(kind)
    assert (job.state, job.progress.percent, job.progress.items_completed) == (COMPLETED, 100.0, 1_200)
    assert summary(job) == {"total": 3, "completed": 3}
    assert [t.ToDatetime(UTC) for t in (job.create_time, job.start_time, job.end_time)] == [CREATED, STARTED, ENDED]
    assert (job.result_uri, job.retry_count, job.priority) == ("https://x.example/r.mp4", 2, 8)
    assert job.artifacts["thumb"].size_bytes == 7
    assert {chunk.end_time.ToDatetime(UTC) for chunk in job.chunks} == {ENDED}
    done = [(chunk.progress.percent, chunk.progress.items_completed) for chunk in job.chunks]
    assert done == [(100, 500), (100, 500), (100, 200)]
    [event] = (await api.list_events(kind)).events
    assert [change.type for change in event.changes] == [CHANGE_TYPE_IMPORTED]


async def test_outputs_come_with_it_as_get_job_shows_them(api: Api, kind: str):
    job = await api.create(kind, item_count=3, chunk_size=1)
    for number, held in enumerate(await api.claim(kind, 3)):
        declared = {"output": {"number": number, "words": ["a", None]}} if number else {}
        await api.complete(held, job_output={"last": number}, **declared)
    shown = await api.get(job.job_id)
    chunks = [
        ImportedChunk(index=one.index, state=one.state, output=one.output if one.HasField("output") else None)
        for one in shown.chunks
    ]
    copy = f"{kind}-copy"
    one = past(copy, kind, job={"item_count": 3, "chunk_size": 1}, output=shown.output, chunks=chunks)
    assert await send(api, [one]) == ImportJobsResponse(imported=1)
    imported = await api.get(copy)
    assert (imported.output, dict(imported.output)) == (shown.output, {"last": 2})
    assert [chunk.HasField("output") for chunk in imported.chunks] == [False, True, True]
    assert [chunk.output for chunk in imported.chunks] == [chunk.output for chunk in shown.chunks]
    assert imported.uid != shown.uid
    assert await send(api, [one]) == ImportJobsResponse(unchanged=1)
    one.output["last"] = 3
    assert (await send(api, [one])).refusals[0].error.reason == ALREADY_EXISTS
    [listed] = (await api.list_jobs(filter={"job_ids": [copy]})).jobs
    assert not listed.HasField("output")


async def test_a_failed_job_keeps_what_was_done_and_can_be_retried(api: Api, kind: str):
    chunks = [
        ImportedChunk(index=0, state=DONE, task_id="celery-0"),
        ImportedChunk(index=1, state=BROKEN, error=WorkError(code="OOM"), attempt=4),
    ]
    await send(
        api, [past(kind, kind, FAILED, job={"item_count": 1_000, "retry_policy": {"max_attempts": 4}}, chunks=chunks)]
    )
    job = await api.get(kind)
    assert (job.state, job.error.code, job.progress.percent) == (FAILED, "BOOM", 50.0)
    ended = [(chunk.task_id, chunk.error.code, chunk.attempt) for chunk in job.chunks]
    assert ended == [("celery-0", "", 1), ("", "OOM", 4)]
    await api.retry(kind)
    [claimed] = await api.claim(kind, 10)
    assert claimed.chunk.index == 1
    await api.complete(claimed)
    assert (await api.get(kind)).state == COMPLETED


async def test_a_queued_job_is_worked_here(api: Api, kind: str):
    done = [ImportedChunk(index=0, state=DONE)]
    await send(api, [past(kind, kind, QUEUED, job={"item_count": 1_000}, retry_count=1, chunks=done)])
    [claimed] = await api.claim(kind, 10)
    assert (claimed.job_id, claimed.chunk.index) == (kind, 1)
    await api.complete(claimed)
    assert (await api.get(kind)).state == COMPLETED


async def test_importing_again_changes_nothing_and_other_content_is_refused(api: Api, kind: str):
    one, other = past(f"{kind}-1", kind), past(f"{kind}-2", kind, CANCELLED, cancel_reason="enough")
    assert await send(api, [one], [other]) == ImportJobsResponse(imported=2)
    assert await send(api, [one, other]) == ImportJobsResponse(unchanged=2)
    changed = past(f"{kind}-1", kind, job={"priority": 1})
    answer = await send(api, [other, changed, past(f"{kind}-3", kind)])
    assert (answer.imported, answer.unchanged, answer.refused) == (1, 1, 1)
    assert [(one.number, one.job_id, one.error.reason) for one in answer.refusals] == [(1, f"{kind}-1", ALREADY_EXISTS)]
    assert (await api.get(f"{kind}-1")).priority == 5
    assert (await api.get(f"{kind}-2")).cancel_reason == "enough"


BROKEN_JOBS = {
    "job.job_id": {"job_id": ""},
    "job.request_id": {"job": {"request_id": "r"}},
    "job.limited_labels": {"job": {"labels": {"a": "b"}, "limited_labels": ["a"]}},
    'labels["jobledger.method"]': {"job": {"labels": {"jobledger.method": "x"}}},
    "job.validate_only": {"job": {"validate_only": True}},
    "job.unique_key": {"job": {"unique_key": "k"}},
    "job.unique_window": {"job": {"unique_window": {"seconds": 60}}},
    "job.on_conflict": {"job": {"on_conflict": 1}},
    "priority": {"job": {"priority": 11}},
    "state": {"state": RUNNING},
    "create_time": {"create_time": datetime.now(UTC) + timedelta(days=1)},
    "start_time": {"start_time": CREATED - timedelta(seconds=1)},
    "end_time": {"end_time": CREATED},
    "error": {"state": FAILED, "error": None},
    "error.code": {"state": FAILED, "error": WorkError(message="without a code")},
    "result_uri": {"result_uri": "/etc/passwd"},
    "cancel_reason": {"cancel_reason": "not cancelled"},
    "output": {"state": CANCELLED, "output": {"a": 1}},
    "output: must have at most": {"output": {"a": "x" * 65_536}},
    "chunks[0].output": {"state": FAILED, "chunks": [ImportedChunk(index=0, state=BROKEN, output={"a": 1})]},
    "retry_count": {"retry_count": -1},
    "job.schedule_time": {"job": {"schedule_time": datetime.now(UTC) + timedelta(days=1)}},
    "chunks: must include one still to be done": {
        "state": QUEUED,
        "retry_count": 1,
        "chunks": [ImportedChunk(index=0, state=DONE)],
    },
    "chunks: chunk 0 must have an error": {
        "state": CANCELLED,
        "job": {"item_count": 1_000},
        "chunks": [ImportedChunk(index=0, state=BROKEN)],
    },
    "chunks: must include a FAILED one": {
        "state": FAILED,
        "error": WorkError(code="TIMED_OUT"),
        "job": {"run_timeout": timedelta(hours=1)},
        "chunks": [ImportedChunk(index=0, state=DONE)],
    },
    "chunks[0].state": {"chunks": [ImportedChunk(index=0)]},
    "chunks": {"chunks": [ImportedChunk(index=9, state=DONE)]},
    "chunks: chunk 0 must begin no earlier than create_time": {
        "chunks": [ImportedChunk(index=0, state=DONE, end_time=datetime.now(UTC) + timedelta(days=1))]
    },
    "chunks[0].end_time": {"chunks": [ImportedChunk(index=0, state=DONE, start_time=ENDED, end_time=STARTED)]},
    "chunks[0].index": {"chunks": [ImportedChunk(state=DONE)]},
    "chunks[1].index": {"chunks": [ImportedChunk(index=0, state=DONE)] * 2},
    "artifacts": {"artifacts": {f"a{n}": Artifact(uri="https://x.example/a") for n in range(101)}},
}


async def test_a_job_whose_run_took_too_long_has_no_failed_chunk_and_can_be_retried(api: Api, kind: str):
    timed_out = past(
        kind, kind, FAILED, job={"item_count": 1_000, "run_timeout": timedelta(hours=1)},
        error=WorkError(code="TIMED_OUT"),
        chunks=[ImportedChunk(index=0, state=DONE), ImportedChunk(index=1, state=STOPPED)],
    )  # fmt: skip
    assert await send(api, [timed_out]) == ImportJobsResponse(imported=1)
    job = await api.get(kind)
    assert (job.error.code, job.error.HasField("chunk_index"), summary(job)["cancelled"]) == ("TIMED_OUT", False, 1)
    await api.retry(kind)
    await api.complete(*await api.claim(kind, 10))
    assert (await api.get(kind)).state == COMPLETED


@pytest.mark.one_store("it is refused before the store is asked")
@pytest.mark.parametrize("field", BROKEN_JOBS)
async def test_a_broken_job_is_refused_by_its_field_and_hinders_no_other(api: Api, kind: str, field: str):
    broken = past(**({"job_id": f"{kind}-broken", "kind": kind} | BROKEN_JOBS[field]))
    answer = await send(api, [past(f"{kind}-0", kind), broken, past(f"{kind}-2", kind)])
    assert (answer.imported, answer.refused) == (2, 1)
    [refusal] = answer.refusals
    assert (refusal.number, refusal.error.reason) == (1, INVALID_FIELD)
    assert refusal.error.message.startswith(field)


async def test_too_many_jobs_in_a_message_are_refused_together(api: Api, kind: str):
    with invalid("jobs"):
        await send(api, [past(f"{kind}-{n}", kind) for n in range(501)])


async def test_an_empty_stream_imports_nothing(api: Api):
    assert await send(api) == ImportJobsResponse()


@pytest.mark.parametrize(
    ("state", "chunks", "last"),
    [
        (COMPLETED, [], ChunkState.CHUNK_STATE_COMPLETED),
        (FAILED, [ImportedChunk(index=0, state=DONE)], ChunkState.CHUNK_STATE_CANCELLED),
        (FAILED, [ImportedChunk(index=index, state=DONE) for index in range(2)], ChunkState.CHUNK_STATE_FAILED),
        (CANCELLED, [], ChunkState.CHUNK_STATE_CANCELLED),
        (QUEUED, [], ChunkState.CHUNK_STATE_PENDING),
    ],
)
async def test_a_finalizer_ended_as_it_can_have_ended(api: Api, kind: str, state: int, chunks: Any, last: int):
    job = {"item_count": 2, "chunk_size": 1, "finalizer": {}}
    assert await send(api, [past(kind, kind, state, job=job, chunks=chunks)]) == ImportJobsResponse(imported=1)
    assert (await api.get(kind)).chunks[-1].state == last
    if state in (FAILED, CANCELLED):
        await api.retry(kind)
    if state != COMPLETED:
        while claimed := await api.claim(kind, 9):
            await api.complete(*claimed)
        assert (await api.get(kind)).state == COMPLETED


async def test_a_finalizer_that_ran_before_the_others_were_completed_is_refused(api: Api, kind: str):
    job = {"item_count": 2, "chunk_size": 1, "finalizer": {}}
    chunks = [ImportedChunk(index=2, state=DONE)]
    response = await send(api, [past(kind, kind, FAILED, job=job, chunks=chunks)])
    assert [(one.job_id, one.error.reason) for one in response.refusals] == [(kind, INVALID_FIELD)]
