"""Attempts in an engine's own process: what becomes of the block becomes of the chunk."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from jobledger_client import ChunkNotClaimableError, EngineRunner, JobClient, JobView, NotRetryable, RetryPolicy

from tests.conftest import StartServer
from tests.support.bounds import BOUND, CALL_TIMEOUT
from tests.support.server import Server
from tests.support.states import CANCELLED, CHUNK_CANCELLED, COMPLETED, FAILED, RUNNING

pytestmark = pytest.mark.one_store("the SDK sees messages, not the store")

SOON = RetryPolicy(initial_backoff=timedelta(milliseconds=1))


@pytest.fixture
def runner(server: Server) -> Iterator[EngineRunner]:
    with EngineRunner(server.target, name="pod-1", lease_duration=timedelta(seconds=6)) as one:
        yield one


def test_a_block_that_ends_completes_the_chunk(runner: EngineRunner, sync_client: JobClient, kind: str):
    job_id = sync_client.create_job(kind, chunks=[{"start": 0}, {"start": 5}]).job.job_id
    for index in (1, 0):
        with runner.attempt(job_id, index, task_id=f"runpod-{index}") as ctx:
            assert ctx.chunk_input == {"start": 5 * index}
            ctx.progress(message="halfway", percent=50)
            ctx.artifact("segment", uri=f"https://cdn.example/{index}.wav")
            ctx.result("https://cdn.example/whole.mp4")
    job = sync_client.get_job(job_id, view=JobView.FULL)
    assert (job.state, job.result_uri) == (COMPLETED, "https://cdn.example/whole.mp4")
    assert [(chunk.task_id, chunk.worker) for chunk in job.chunks] == [("runpod-0", "pod-1"), ("runpod-1", "pod-1")]
    assert job.chunks[1].artifacts["segment"].uri == "https://cdn.example/1.wav"


def test_an_error_fails_the_attempt_and_continues_to_the_engine(
    runner: EngineRunner, sync_client: JobClient, kind: str
):
    job_id = sync_client.create_job(kind, retry_policy=SOON).job.job_id
    with pytest.raises(ZeroDivisionError), runner.attempt(job_id, task_id="a"):
        1 / 0  # noqa: B018  the error
    chunk = sync_client.get_job(job_id, view=JobView.FULL).chunks[0]
    assert (chunk.attempt, chunk.error.code, chunk.error.message) == (1, "ZeroDivisionError", "division by zero")
    with pytest.raises(NotRetryable), runner.attempt(job_id, task_id="b"):
        raise NotRetryable("not a WAV file", code="BAD_INPUT")
    job = sync_client.get_job(job_id, view=JobView.FULL)
    assert (job.state, job.error.code, job.chunks[0].attempt) == (FAILED, "BAD_INPUT", 2)


def test_an_interrupt_gives_the_chunk_back(runner: EngineRunner, sync_client: JobClient, kind: str):
    job_id = sync_client.create_job(kind).job.job_id
    with pytest.raises(SystemExit), runner.attempt(job_id, task_id="a"):
        raise SystemExit
    job = sync_client.get_job(job_id, view=JobView.FULL)
    assert (job.state, job.chunks[0].attempt, job.chunks[0].HasField("error")) == (RUNNING, 0, False)


def test_a_task_that_comes_twice_is_refused(runner: EngineRunner, server: Server, sync_client: JobClient, kind: str):
    job_id = sync_client.create_job(kind).job.job_id
    with runner.attempt(job_id, task_id="a"), EngineRunner(server.target, name="pod-2") as other:
        for one in (runner, other):
            with (
                pytest.raises(ChunkNotClaimableError, match="pod-1 already works on chunk 0"),
                one.attempt(job_id, task_id="a"),
            ):
                raise AssertionError("the work was done twice")
    with pytest.raises(ChunkNotClaimableError, match="COMPLETED"), runner.attempt(job_id, task_id="a"):
        raise AssertionError("the work was done again")
    assert sync_client.get_job(job_id, view=JobView.FULL).chunks[0].attempt == 1


def test_heartbeats_keep_the_lease_and_notice_cancellation(runner: EngineRunner, sync_client: JobClient, kind: str):
    job_id = sync_client.create_job(kind).job.job_id
    overdue = threading.Event()
    with runner.attempt(job_id, task_id="a", on_overdue=overdue.set, cancel_grace=timedelta(seconds=0.01)) as ctx:
        first = sync_client.get_job(job_id, view=JobView.FULL).chunks[0].lease_expire_time
        while sync_client.get_job(job_id, view=JobView.FULL).chunks[0].lease_expire_time == first:
            assert not ctx.wait_cancelled(timedelta(seconds=0.05))
        sync_client.cancel_job(job_id)
        assert ctx.wait_cancelled(CALL_TIMEOUT)
        assert overdue.wait(BOUND), "who does not stop is stopped"
    job = sync_client.get_job(job_id, view=JobView.FULL)
    assert (job.state, job.chunks[0].state, job.chunks[0].HasField("error")) == (CANCELLED, CHUNK_CANCELLED, False)


@pytest.mark.long  # servers are stopped and started
def test_a_service_that_is_away_is_reported_when_it_is_back(start_server: StartServer, kind: str):
    server = start_server()
    with JobClient(server.target, timeout=CALL_TIMEOUT) as client, EngineRunner(server.target) as runner:
        job_id = client.create_job(kind).job.job_id
        with runner.attempt(job_id, task_id="a"):
            server.kill()
            back = threading.Thread(target=server.start)
            back.start()
        back.join(BOUND)
        assert client.get_job(job_id).state == COMPLETED
