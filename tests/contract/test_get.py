"""GetJob and BatchGetJobs: the job as it is after every acknowledged write, in the view that was asked for."""

import asyncio
from uuid import uuid4

import grpc
from jobledger.v1.chunk_pb2 import WorkError
from jobledger.v1.job_pb2 import Job, JobView
from jobledger.v1.job_service_pb2 import BatchGetJobsRequest, GetJobRequest

from tests.support.api import Api
from tests.support.errors import invalid, refused
from tests.support.states import COMPLETED, FAILED, RUNNING

BASIC, DETAIL, FULL, STATUS = (JobView.Value(f"JOB_VIEW_{name}") for name in ("BASIC", "DETAIL", "FULL", "STATUS"))


async def test_the_full_view_has_input_and_chunks_detail_has_the_input_and_basic_neither(api: Api, kind: str):
    job_id = (await api.create(kind, input={"a": 1}, item_count=1_500)).job_id
    full = await api.get(job_id, view=FULL)
    assert full == await api.get(job_id)
    assert dict(full.input) == {"a": 1}
    assert len(full.chunks) == 3
    basic = await api.get(job_id, view=BASIC)
    full.ClearField("chunks")
    full.ClearField("attempts")
    large = (await api.create(kind, input={"a": "x" * 20_000})).job_id  # it is not read with small jobs
    assert await api.get(job_id, view=DETAIL) == full
    for show in (
        api.batch_get(job_ids=[large, job_id], view=DETAIL),
        api.list_jobs(filter={"kinds": [kind]}, view=DETAIL),
    ):
        first, second = (await show).jobs
        assert second == full
        assert first == await api.get(large, view=DETAIL)
        assert len(first.input["a"]) == 20_000
        assert not first.chunks
        assert not first.next_chunks_page_token
    full.ClearField("input")
    assert basic == full


async def test_the_full_view_has_the_first_thousand_chunks(api: Api, kind: str):
    job = await api.get((await api.create(kind, item_count=1_200, chunk_size=1)).job_id)
    assert [chunk.index for chunk in job.chunks] == list(range(1_000))
    assert job.chunks_summary.total == 1_200
    rest = await api.list_chunks(job.job_id, page_token=job.next_chunks_page_token, page_size=1_000)
    assert [chunk.index for chunk in rest.chunks] == list(range(1_000, 1_200))


async def test_many_reads_at_once_each_get_their_own_job(api: Api, kind: str):
    ids = [(await api.create(kind, display_name=str(n))).job_id for n in range(20)]
    jobs = await asyncio.gather(*(api.get(job_id) for job_id in ids * 5))
    assert [(job.job_id, job.display_name) for job in jobs] == [(job_id, str(n)) for n, job_id in enumerate(ids)] * 5


async def test_a_job_that_does_not_exist_is_not_found(api: Api):
    job_id = uuid4().hex
    with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND") as result:
        await api.get(job_id)
    assert result.metadata["job_id"] == job_id


async def test_a_missing_job_among_many_reads_fails_its_own_read_only(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    answers = await asyncio.gather(*(api.get(one) for one in (job_id, uuid4().hex, job_id)), return_exceptions=True)
    assert [isinstance(answer, grpc.aio.AioRpcError) for answer in answers] == [False, True, False]


async def test_a_request_without_job_id_or_with_an_unknown_view_is_refused(api: Api):
    with invalid("job_id"):
        await api.get("")
    with invalid("view"):
        await api.get("a", view=99)


async def test_a_batch_has_what_was_found_in_order_and_names_the_rest(api: Api, kind: str):
    ids = [(await api.create(kind, input={"n": n})).job_id for n in range(3)]
    missing = [uuid4().hex for _ in range(2)]
    answer = await api.batch_get(job_ids=[ids[2], missing[0], ids[0], missing[1], ids[1]])
    assert [job.job_id for job in answer.jobs] == [ids[2], ids[0], ids[1]]
    assert list(answer.missing_job_ids) == missing
    assert list(answer.jobs) == [await api.get(ids[2]), await api.get(ids[0]), await api.get(ids[1])]


async def test_unless_a_view_is_asked_for_a_job_is_small(api: Api, kind: str):
    job_id = (await api.create(kind, input={"a": 1}, item_count=3)).job_id
    default = (await api.jobs.GetJob(GetJobRequest(job_id=job_id))).job
    [of_batch] = (await api.jobs.BatchGetJobs(BatchGetJobsRequest(job_ids=[job_id]))).jobs
    assert default == of_batch == await api.get(job_id, view=BASIC)
    assert not default.chunks
    assert default.chunks_summary.total == 1


async def test_a_batch_in_view_basic_has_neither_input_nor_chunks(api: Api, kind: str):
    job_id = (await api.create(kind, input={"a": 1})).job_id
    [job] = (await api.batch_get(job_ids=[job_id], view=BASIC)).jobs
    assert not job.HasField("input")
    assert not job.chunks


async def test_a_batch_of_none_or_of_more_than_500_is_refused(api: Api):
    with invalid("job_ids"):
        await api.batch_get()
    with invalid("job_ids"):
        await api.batch_get(job_ids=[f"job-{n}" for n in range(501)])


async def test_a_batch_of_500_is_taken(api: Api):
    missing = [f"{uuid4().hex}-{n}" for n in range(500)]
    answer = await api.batch_get(job_ids=missing)
    assert list(answer.missing_job_ids) == missing


async def test_the_status_view_has_what_a_screen_shows_of_many_and_no_more(api: Api, kind: str):
    job_id = (await api.create(kind, display_name="Film", labels={"a": "b"}, input={"a": 1}, item_count=600)).job_id
    [claimed] = await api.claim(kind)
    await api.report(claimed, percent=40, stage="decode", stage_percent=50, message="frame 7")
    whole = await api.get(job_id)
    expected = Job(
        owner=whole.owner,
        job_id=job_id,
        uid=whole.uid,
        kind=kind,
        display_name="Film",
        state=RUNNING,
        revision=whole.revision,
        update_time=whole.update_time,
        progress={"percent": whole.progress.percent, "stage": "decode", "stage_percent": 50},
        chunks_summary={"total": 2, "pending": 1, "processing": 1},
    )
    if whole.progress.HasField("eta"):
        expected.progress.eta.CopyFrom(whole.progress.eta)
    batch = await api.batch_get(job_ids=[job_id, "no-such", job_id], view=STATUS)
    assert (list(batch.jobs), list(batch.missing_job_ids)) == ([expected], ["no-such"])
    assert await api.get(job_id, view=STATUS) == expected
    listed = await api.list_jobs(filter={"kinds": [kind]}, view=STATUS)
    assert list(listed.jobs) == [expected]
    await api.complete(claimed)
    assert (await api.get(job_id, view=STATUS)).revision == whole.revision + 1
    with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
        await api.get("no-such", view=STATUS)


async def test_the_status_view_says_how_a_job_ended(api: Api, kind: str):
    done = (await api.create(kind)).job_id
    await api.complete(*await api.claim(kind), result_uri="https://example.com/film.mp4")
    broken = (await api.create(kind)).job_id
    code, message = "CUDA_OUT_OF_MEMORY", "tried to allocate 20 GiB " * 20
    await api.fail(*await api.claim(kind), code=code, message=message, not_retryable=True)
    assert (await api.get(broken)).error.message == message
    shown = (await api.batch_get(job_ids=[done, broken], view=STATUS)).jobs
    assert [(job.state, job.result_uri, job.chunks_summary.total) for job in shown] == [
        (COMPLETED, "https://example.com/film.mp4", 1),
        (FAILED, "", 1),
    ]
    assert shown[1].error == WorkError(code="CUDA_OUT_OF_MEMORY")
    assert not shown[0].HasField("error")
    assert max(job.ByteSize() for job in shown) < 300
