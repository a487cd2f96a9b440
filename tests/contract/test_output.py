"""Outputs: the results of a chunk and of a job, which their workers declare inline."""

import pytest
from google.longrunning.operations_pb2 import GetOperationRequest
from google.longrunning.operations_pb2_grpc import OperationsStub
from google.protobuf.struct_pb2 import Struct
from jobledger.v1.job_pb2 import Job, JobView
from jobledger.v1.job_service_pb2 import GetJobRequest, UpdateJobRequest
from jobledger.v1.worker_service_pb2 import CompleteChunksRequest

from tests.bulk.runs import create_many
from tests.support.api import Api
from tests.support.errors import assert_entry_refused
from tests.support.states import COMPLETED, FAILED, LEASE_LOST, OK

MIB = 1024 * 1024
BASIC, FULL, STATUS = (JobView.Value(f"JOB_VIEW_{name}") for name in ("BASIC", "FULL", "STATUS"))


def struct(**values: object) -> Struct:
    made = Struct()
    made.update(values)
    return made


def of_bytes(size: int) -> Struct:
    """Return a Struct of so many bytes, encoded."""
    made = struct(x="")
    made["x"] = "x" * (size - made.ByteSize() - 9)
    made["x"] += "x" * (size - made.ByteSize())
    assert made.ByteSize() == size
    return made


async def shown(api: Api, job_id: str, view: int = FULL) -> Job:
    return await api.get(job_id, view=view)


async def completed(api: Api, kind: str, *outputs: Struct, **fields: object) -> Job:
    """Return a completed job with these outputs of its chunks; `fields` are of the last completion."""
    job = await api.create(kind, item_count=len(outputs), chunk_size=1)
    claimed = await api.claim(kind, len(outputs))
    for index, (one, output) in enumerate(zip(claimed, outputs, strict=True)):
        last = index == len(outputs) - 1
        [result] = await api.complete(one, output=output, **(fields if last else {}))
        assert result.status == OK
    return await shown(api, job.job_id)


async def test_a_job_and_its_chunks_show_what_was_declared(api: Api, kind: str):
    one, two, whole = struct(frames=7, parts=["a", None]), struct(), struct(score=0.5)
    job = await completed(api, kind, one, two, job_output=whole)
    assert (job.state, job.output) == (COMPLETED, whole)
    assert [chunk.output for chunk in job.chunks] == [one, two]
    assert all(chunk.HasField("output") for chunk in job.chunks)
    assert (await shown(api, job.job_id, BASIC)).output == whole
    assert not (await shown(api, job.job_id, STATUS)).HasField("output")
    batch = await api.batch_get(job_ids=[job.job_id])
    assert batch.jobs[0] == job
    page = await api.list_chunks(job.job_id)
    assert page.chunks == job.chunks
    stub = OperationsStub(api.channel)
    operation = await stub.GetOperation(GetOperationRequest(name=f"operations/{job.job_id}"))
    response = Job()
    assert operation.response.Unpack(response)
    assert response.output == whole


async def test_lists_and_watches_show_no_output(api: Api, kind: str):
    job = await api.create(kind)
    [claimed] = await api.claim(kind)
    async with api.watch_job(job.job_id) as watch, api.watch_jobs(kind) as jobs:
        first = [await watch.message(), *[await jobs.message() for _ in range(2)]]
        await api.complete(claimed, output=struct(x=1), job_output=struct(y=1))
        messages = [*first, *await watch.rest(), await jobs.message()]
    async with api.watch_job(job.job_id) as watch:
        messages += await watch.rest()
    async with api.watch_job(job.job_id, cursor=first[0].cursor) as watch:
        messages += await watch.rest()
    assert [message.job.state for message in messages].count(COMPLETED) == 4
    for message in messages:
        assert not message.job.HasField("output")
        assert not any(chunk.HasField("output") for chunk in (*message.chunks, *message.job.chunks))
    for view in (BASIC, FULL, STATUS):
        [listed] = (await api.list_jobs(filter={"kinds": [kind]}, view=view)).jobs
        assert not listed.HasField("output")
        assert not any(chunk.HasField("output") for chunk in listed.chunks)
    assert (await shown(api, job.job_id)).output == struct(y=1)


async def test_the_output_of_a_job_shows_once_it_is_completed_and_the_last_one_holds(api: Api, kind: str):
    job = await api.create(kind, item_count=4, chunk_size=1)
    claimed = await api.claim(kind, 4)
    await api.complete(claimed[0], job_output=struct(by=0), output=struct(mine=0))
    early = await shown(api, job.job_id)
    assert (early.HasField("output"), early.chunks[0].output) == (False, struct(mine=0))
    requests = [
        CompleteChunksRequest(completions=[{"lease_token": one.lease.token, "job_output": struct(by=number)}])
        for number, one in enumerate(claimed[1:3], 1)
    ]
    for request in requests:
        await api.work.CompleteChunks(request)
    await api.complete(claimed[3], output=struct(mine=3))
    late = await shown(api, job.job_id)
    assert (late.state, late.output) == (COMPLETED, struct(by=2))
    assert [chunk.HasField("output") for chunk in late.chunks] == [True, False, False, True]


async def test_of_several_in_one_call_the_last_holds(api: Api, kind: str):
    job = await api.create(kind, item_count=3, chunk_size=1)
    completions = [
        {"lease_token": one.lease.token, "job_output": struct(by=one.chunk.index)} for one in await api.claim(kind, 3)
    ]
    await api.work.CompleteChunks(CompleteChunksRequest(completions=completions))
    assert (await shown(api, job.job_id)).output == struct(by=2)


async def test_a_repeated_or_late_completion_declares_nothing(api: Api, kind: str):
    job = await api.create(kind)
    [claimed] = await api.claim(kind)
    await api.complete(claimed, output=struct(first=1), job_output=struct(first=1))
    assert (await api.complete(claimed, output=struct(again=1), job_output=struct(again=1)))[0].status == OK
    kept = await shown(api, job.job_id)
    assert (kept.output, kept.chunks[0].output) == (struct(first=1), struct(first=1))
    other = await api.create(kind)
    [claimed] = await api.claim(kind)
    await api.release(claimed)
    assert (await api.complete(claimed, output=struct(late=1)))[0].status == LEASE_LOST
    assert not (await shown(api, other.job_id)).chunks[0].HasField("output")


@pytest.mark.guarantee("3c.13")
async def test_a_retry_keeps_what_completed_chunks_declared_for_themselves_and_for_the_job(api: Api, kind: str):
    job = await api.create(kind, item_count=2, chunk_size=1)
    first, second = await api.claim(kind, 2)
    declared = {"job_output": struct(of="the first run"), "result_uri": "s3://bucket/first"}
    await api.complete(first, output=struct(mine=1), **declared)
    await api.fail(second, not_retryable=True)
    failed = await shown(api, job.job_id)
    assert (failed.state, failed.HasField("output")) == (FAILED, False)
    await api.retry(job.job_id)
    [second] = await api.claim(kind)
    await api.complete(second)
    ended = await shown(api, job.job_id)
    assert (ended.state, ended.chunks[0].output) == (COMPLETED, struct(mine=1))
    assert {"job_output": ended.output, "result_uri": ended.result_uri} == declared


@pytest.mark.guarantee("3d.7")
async def test_a_retried_job_may_declare_another_output_and_the_chunks_keep_theirs(api: Api, kind: str):
    job = await api.create(kind, item_count=2, chunk_size=1)
    first, second = await api.claim(kind, 2)
    await api.complete(first, output=struct(mine=1), job_output=struct(run=1))
    await api.fail(second, not_retryable=True)
    await api.retry(job.job_id)
    [second] = await api.claim(kind)
    await api.complete(second, output=struct(mine=2), job_output=struct(run=2))
    ended = await shown(api, job.job_id)
    assert ended.output == struct(run=2)
    assert [chunk.output for chunk in ended.chunks] == [struct(mine=1), struct(mine=2)]


async def test_a_later_job_of_the_same_id_has_none_of_it(api: Api, kind: str):
    for output in (struct(x=1), None):
        job = await api.create(kind, job_id=kind)
        [claimed] = await api.claim(kind)
        await api.complete(claimed, output=output, job_output=output)
        ended = await shown(api, job.job_id)
        assert (ended.HasField("output"), ended.chunks[0].HasField("output")) == (output is not None,) * 2
        await api.delete(job.job_id)


async def test_a_change_of_an_ended_job_keeps_its_output(api: Api, kind: str):
    job = await completed(api, kind, struct(), job_output=struct(x=1))
    request = UpdateJobRequest(job_id=job.job_id, update_mask={"paths": ["display_name"]}, display_name="new")
    assert not (await api.jobs.UpdateJob(request)).job.HasField("output")
    assert (await shown(api, job.job_id)).output == struct(x=1)


@pytest.mark.parametrize("field", ["output", "job_output"])
async def test_it_keeps_the_rules_of_an_input(api: Api, kind: str, field: str):
    job = await api.create(kind)
    [claimed] = await api.claim(kind)
    deep: dict[str, object] = {}
    for _ in range(25):
        deep = {"d": deep}
    for broken, path in (
        (of_bytes(64 * 1024 + 1), field),
        (struct(a={"b": float("nan")}), f"{field}.a.b"),
        (struct(a=[1, float("inf")]), f"{field}.a[1]"),
        (struct(**deep), field + ".d" * 24),
    ):
        [result] = await api.complete(claimed, **{field: broken})
        assert_entry_refused(result.error, path)
    assert (await shown(api, job.job_id)).chunks_summary.processing == 1
    most = of_bytes(64 * 1024)
    await api.complete(claimed, **{field: most})
    ended = await shown(api, job.job_id)
    assert most in (ended.output, ended.chunks[0].output)


async def test_a_refused_completion_declares_nothing(api: Api, kind: str):
    job = await api.create(kind, item_count=2, chunk_size=1)
    good, bad = await api.claim(kind, 2)
    outputs = {"output": struct(x=1), "job_output": struct(x=1)}
    request = CompleteChunksRequest(
        completions=[
            {"lease_token": bad.lease.token, "progress": {"items_completed": 2}, **outputs},
            {"lease_token": good.lease.token, "output": struct(x=2)},
        ]
    )
    refused, completion = (await api.work.CompleteChunks(request)).results
    assert_entry_refused(refused.error, "progress.items_completed")
    assert completion.status == OK
    await api.complete(bad)
    ended = await shown(api, job.job_id)
    assert not ended.HasField("output")
    assert [chunk.output for chunk in ended.chunks if chunk.HasField("output")] == [struct(x=2)]


@pytest.mark.guarantee("3b.2")
async def test_large_outputs_end_pages_and_leave_no_room_unused(api: Api, kind: str):
    count, large = 100, of_bytes(64 * 1024)
    job = await api.create(kind, item_count=count, chunk_size=1)
    claimed = await api.claim(kind, count)
    for begin in range(0, count, 20):
        some = claimed[begin : begin + 20]
        await api.complete(*some, output=large)
    raw = await api.jobs.GetJob(GetJobRequest(job_id=job.job_id, view=FULL))
    assert 2 * MIB < raw.ByteSize() <= 3 * MIB
    seen, token = list(raw.job.chunks), raw.job.next_chunks_page_token
    while token:
        page = await api.list_chunks(job.job_id, page_size=1_000, page_token=token)
        assert page.ByteSize() <= 3 * MIB
        seen, token = [*seen, *page.chunks], page.next_page_token
    assert [(chunk.index, chunk.output == large) for chunk in seen] == [(index, True) for index in range(count)]
    async with api.watch_job(job.job_id) as watch:
        [snapshot] = await watch.rest()
    assert (len(snapshot.job.chunks), snapshot.chunks_omitted) == (count, False)
    [listed] = (await api.list_jobs(filter={"kinds": [kind]}, view=FULL)).jobs
    assert (len(listed.chunks), listed.next_chunks_page_token) == (count, "")


@pytest.mark.guarantee("3b.2")
async def test_a_batch_of_jobs_with_outputs_stays_within_an_answer(api: Api, kind: str):
    large, ids = of_bytes(64 * 1024), await create_many(api, kind, 50)
    for one in await api.claim(kind, 50):
        await api.complete(one, job_output=large)
    batch = await api.batch_get(job_ids=ids, view=BASIC)
    assert batch.ByteSize() <= 3 * MIB
    assert all(job.output == large for job in batch.jobs)
    assert len(batch.jobs) > 40
    assert [*[job.job_id for job in batch.jobs], *batch.unread_job_ids] == ids
