"""An outside engine reports call by call, from whichever process knows the three names of its task."""

from datetime import timedelta

import pytest
from jobledger.v1.chunk_pb2 import Artifact
from jobledger_client import AsyncEngineTask, AsyncJobClient, ChunkNotClaimableError, EngineTask, JobClient, JobView

from tests.support.states import CANCEL_REQUESTED, CANCELLED, COMPLETED, LEASE_LOST, OK, RUNNING, summary

pytestmark = pytest.mark.one_store("the SDK sees messages, not the store")


def task(client: AsyncJobClient, job_id: str, task_id: str = "dag-run-1") -> AsyncEngineTask:
    return AsyncEngineTask(client, job_id, task_id=task_id, worker="airflow")


async def test_each_call_may_come_from_another_process(client: AsyncJobClient, kind: str):
    job_id = (await client.create_job(kind, stages={"cut": 1, "join": 3}, input={"file": "a.mp4"})).job.job_id
    claimed = await task(client, job_id).begin()
    assert claimed.job_input["file"] == "a.mp4"
    preview = {"preview": Artifact(uri="https://cdn.example/a.png")}
    assert await task(client, job_id).progress(stage="join", stage_percent=50, job_artifacts=preview) == OK
    job = await client.get_job(job_id, view=JobView.FULL)
    assert (job.state, job.progress.percent, job.progress.stage) == (RUNNING, 62.5, "join")
    assert job.artifacts["preview"].uri == "https://cdn.example/a.png"
    assert (job.chunks[0].task_id, job.chunks[0].worker, job.chunks[0].attempt) == ("dag-run-1", "airflow", 1)
    outputs = {"output": {"cuts": 2}, "job_output": {"seconds": 1.5}}
    assert await task(client, job_id).complete(result_uri="https://cdn.example/a.m3u8", **outputs) == OK
    job = await client.get_job(job_id, view=JobView.FULL)
    assert (job.output["seconds"], job.chunks[0].output["cuts"]) == (1.5, 2)
    assert (job.state, job.result_uri) == (COMPLETED, "https://cdn.example/a.m3u8")
    assert await task(client, job_id).progress(stage="join") == LEASE_LOST, "it has ended"


async def test_another_task_is_refused(client: AsyncJobClient, kind: str):
    job_id = (await client.create_job(kind)).job.job_id
    await task(client, job_id).begin()
    with pytest.raises(ChunkNotClaimableError):
        await task(client, job_id, "dag-run-2").begin()
    assert await task(client, job_id, "dag-run-2").complete() == LEASE_LOST
    assert (await client.get_job(job_id)).state == RUNNING


async def test_a_failure_is_retried_or_is_final(client: AsyncJobClient, kind: str):
    job_id = (await client.create_job(kind)).job.job_id
    assert await task(client, job_id).fail("OOM", "no memory left", stage="cut") == OK
    job = await client.get_job(job_id, view=JobView.FULL)
    assert (job.chunks[0].error.code, job.chunks[0].error.stage, summary(job)["pending"]) == ("OOM", "cut", 1)
    other = (await client.create_job(kind)).job.job_id
    assert await task(client, other).fail("NO_SUCH_FILE", retryable=False) == OK
    assert (await client.get_job(other)).error.code == "NO_SUCH_FILE"


async def test_a_cancelled_task_learns_of_it_and_stops(client: AsyncJobClient, kind: str):
    job_id = (await client.create_job(kind)).job.job_id
    run = task(client, job_id)
    await run.begin()
    await client.cancel_job(job_id)
    assert await run.progress() == CANCEL_REQUESTED
    assert await run.release("stopped") == OK
    assert (await client.get_job(job_id)).state == CANCELLED


def test_the_synchronous_one_gives_a_chunk_back(sync_client: JobClient, kind: str):
    job_id = sync_client.create_job(kind).job.job_id
    run = EngineTask(sync_client, job_id, task_id="t", worker="cron", lease_duration=timedelta(seconds=5))
    assert run.progress(percent=10) == OK
    assert run.release("the pod was taken away") == OK
    chunk = sync_client.get_job(job_id, view=JobView.FULL).chunks[0]
    assert (chunk.attempt, sync_client.get_job(job_id).state) == (0, RUNNING)
    assert run.release() == OK, "a repetition"


async def test_a_task_needs_an_id(client: AsyncJobClient):
    with pytest.raises(ValueError, match="task_id"):
        AsyncEngineTask(client, "job", task_id="", worker="airflow")
