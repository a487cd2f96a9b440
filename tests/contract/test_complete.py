"""CompleteChunks: every chunk completes once, and a job with its last one."""

import asyncio

import pytest
from jobledger.v1.worker_service_pb2 import ChunkCompletion, CompleteChunksRequest

from tests.support.api import Api
from tests.support.errors import assert_entry_refused
from tests.support.states import (
    CHUNK_COMPLETED,
    COMPLETED,
    FAILED,
    LEASE_LOST,
    OK,
    REFUSED,
    RUNNING,
    chunk_states,
    summary,
)

URI = "https://example.com/result.mp4"


async def test_the_last_chunk_completes_the_job(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=30, chunk_size=10)).job_id
    claimed = await api.claim(kind, 3)
    results = await api.complete(*claimed[:2])
    assert [(result.status, result.chunk_state) for result in results] == [(OK, CHUNK_COMPLETED)] * 2
    job = await api.get(job_id)
    assert (job.state, job.progress.items_completed) == (RUNNING, 20)
    assert job.progress.percent == pytest.approx(200 / 3)
    assert not job.HasField("end_time")

    await api.complete(claimed[2])
    job = await api.get(job_id)
    assert (job.state, job.progress.percent, job.progress.items_completed) == (COMPLETED, 100, 30)
    assert summary(job) == {"total": 3, "completed": 3}
    assert job.end_time == job.update_time == job.chunks[2].end_time
    assert not job.HasField("error")
    assert not job.progress.HasField("eta")
    assert not job.progress.HasField("items_per_second")


async def test_a_completed_chunk_is_whole(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=20)).job_id
    [claimed] = await api.claim(kind, worker="anna")
    await api.report(claimed, percent=10, items_completed=2)
    await api.complete(claimed)
    chunk = (await api.get(job_id)).chunks[0]
    assert (chunk.state, chunk.attempt, chunk.worker) == (CHUNK_COMPLETED, 1, "anna")
    assert (chunk.progress.percent, chunk.progress.items_completed) == (100, 20)
    assert chunk.HasField("end_time")
    assert not chunk.HasField("lease_expire_time")
    assert not chunk.HasField("error")


async def test_the_result_shows_once_the_job_is_completed_and_the_last_declared_holds(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=3, chunk_size=1)).job_id
    claimed = await api.claim(kind, 3)
    await api.complete(claimed[0], result_uri="https://example.com/first")
    await api.complete(claimed[1], result_uri=URI)
    assert (await api.get(job_id)).result_uri == ""
    await api.complete(claimed[2])
    assert (await api.get(job_id)).result_uri == URI


async def test_a_failed_job_shows_no_result(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=2, chunk_size=1)).job_id
    first, second = await api.claim(kind, 2)
    await api.complete(first, result_uri=URI)
    await api.fail(second, not_retryable=True)
    job = await api.get(job_id)
    assert (job.state, job.result_uri) == (FAILED, "")


async def test_artifacts_come_with_the_completion(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    [claimed] = await api.claim(kind)
    await api.complete(
        claimed, progress={"artifacts": {"chunk": {"uri": URI}}, "job_artifacts": {"job": {"uri": "az://x/y"}}}
    )
    job = await api.get(job_id)
    assert {name: artifact.uri for name, artifact in job.chunks[0].artifacts.items()} == {"chunk": URI}
    assert {name: artifact.uri for name, artifact in job.artifacts.items()} == {"job": "az://x/y"}


async def test_completing_again_under_the_same_lease_answers_ok_and_changes_nothing(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=2, chunk_size=1)).job_id
    claimed = await api.claim(kind, 2)
    await api.complete(claimed[0])
    job = await api.get(job_id)
    [again] = await api.complete(claimed[0], result_uri=URI, progress={"artifacts": {"late": {"uri": URI}}})
    assert (again.status, again.chunk_state) == (OK, CHUNK_COMPLETED)
    assert await api.get(job_id) == job


async def test_many_at_once_under_one_lease_complete_it_once(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=2, chunk_size=1)).job_id
    [claimed] = await api.claim(kind)
    answers = await asyncio.gather(*(api.complete(claimed) for _ in range(20)))
    assert {answer[0].status for answer in answers} == {OK}
    job = await api.get(job_id)
    assert (job.revision, job.progress.items_completed, job.progress.percent) == (3, 1, 50)


@pytest.mark.guarantee("3c.6")
async def test_chunks_of_several_jobs_complete_together_and_a_lost_one_harms_none(api: Api, kind: str):
    jobs = [await api.create(kind) for _ in range(3)]
    claimed = await api.claim(kind, 3)
    await api.cancel(jobs[1].job_id, force=True)
    results = await api.complete(*claimed)
    assert [result.status for result in results] == [OK, LEASE_LOST, OK]
    assert [result.lease_token for result in results] == [one.lease.token for one in claimed]
    assert results[1].chunk_state == 0
    assert [(await api.get(job.job_id)).state == COMPLETED for job in jobs] == [True, False, True]


async def test_a_failure_and_a_release_after_the_completion_are_refused(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    [claimed] = await api.claim(kind)
    await api.complete(claimed)
    job = await api.get(job_id)
    assert (await api.fail(claimed))[0].status == LEASE_LOST
    assert (await api.release(claimed))[0].status == LEASE_LOST
    assert (await api.report(claimed, percent=1)).status == LEASE_LOST
    assert await api.get(job_id) == job


async def test_a_thousand_at_once(api: Api, kind: str):
    job_id = (await api.create(kind, item_count=1_000, chunk_size=1)).job_id
    results = await api.complete(*await api.claim(kind, 1_000))
    assert {result.status for result in results} == {OK}
    job = await api.get(job_id)
    assert (job.state, job.revision) == (COMPLETED, 3)
    assert set(chunk_states(job)) == {CHUNK_COMPLETED}


@pytest.mark.one_store("it is refused before the store is asked")
@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("result_uri", {"result_uri": "/var/result"}),
        ("result_uri", {"result_uri": "file:///var/result"}),
        ("result_uri", {"result_uri": URI.ljust(2_049, "x")}),
        ('progress.artifacts["x"].uri', {"progress": {"artifacts": {"x": {"uri": "../result"}}}}),
        ('progress.job_artifacts["x"].uri', {"progress": {"job_artifacts": {"x": {"uri": ""}}}}),
    ],
)
async def test_a_completion_that_breaks_a_rule_is_refused_alone(
    api: Api, kind: str, field: str, broken: dict[str, object]
):
    job_id = (await api.create(kind, item_count=2, chunk_size=1)).job_id
    bad, good = await api.claim(kind, 2)
    before = (await api.get(job_id)).chunks[0]
    completions = [
        ChunkCompletion(lease_token=bad.lease.token, **broken),
        ChunkCompletion(lease_token=good.lease.token),
    ]
    results = (await api.work.CompleteChunks(CompleteChunksRequest(completions=completions))).results
    assert [(one.status, one.chunk_state) for one in results] == [(REFUSED, 0), (OK, CHUNK_COMPLETED)]
    assert_entry_refused(results[0].error, field)
    job = await api.get(job_id)
    assert (job.chunks[0], job.chunks[1].state) == (before, CHUNK_COMPLETED)
