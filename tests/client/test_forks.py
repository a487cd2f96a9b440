"""A forked process has none of its parent's threads: what holds a connection there raises, and the parent continues."""

import subprocess
import sys
import threading

import pytest
from jobledger_client import ClientClosedError, EngineRunner, JobClient, JobView

from tests.support.bounds import BOUND
from tests.support.server import Server
from tests.support.states import CHUNK_PROCESSING

pytestmark = pytest.mark.one_store("processes of a client know nothing of the store")

START = """
import os, sys
from jobledger_client import ClientClosedError, EngineRunner, JobClient, JobState, JobView
target, kind = sys.argv[1:]

def is_refused(work, words="fork"):
    child = os.fork()
    if child == 0:
        try:
            work()
        except (ClientClosedError, RuntimeError) as error:
            os._exit(7 if words in str(error) else 1)
        os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""
STREAM = """
with JobClient(target) as client:
    job_id = client.create_job(kind).job.job_id
    watch = client.watch(job_id)
    next(watch)
    assert is_refused(lambda: next(watch))
    client.cancel_job(job_id)
    assert [message.job.state for message in watch] == [JobState.CANCELLED]
"""
CALL = """
with JobClient(target) as client:
    job_id = client.create_job(kind).job.job_id
    with client._caller._throttle._lock:  # another thread may hold it at any moment
        assert is_refused(lambda: client.get_job(job_id), "create another one after the fork")
    assert client.get_job(job_id).job_id == job_id
"""
RUNNER = """
def attempt(index):
    with runner.attempt(job_id, index, task_id=f"t{index}"):
        pass

with JobClient(target) as client, EngineRunner(target) as runner:
    job_id = client.create_job(kind, item_count=3, chunk_size=1).job.job_id
    attempt(0)
    assert is_refused(lambda: attempt(1))
    with runner._lock:  # another thread may hold it at any moment
        assert is_refused(lambda: attempt(1))
    attempt(1)
    attempt(2)
    assert client.get_job(job_id).state == JobState.COMPLETED
"""
REPORTS = """
with JobClient(target) as client, EngineRunner(target) as runner:
    job_id = client.create_job(kind).job.job_id
    with runner.attempt(job_id, task_id="t") as ctx:
        for report in (
            lambda: ctx.progress(percent=50),
            lambda: ctx.artifact("a", uri="s3://b/a"),
            lambda: ctx.result("s3://b/a"),
            lambda: ctx.release(),
            lambda: setattr(ctx, "output", {"a": 1}),
        ):
            assert is_refused(report)
    job = client.get_job(job_id, view=JobView.FULL)
    assert (job.state, job.result_uri, job.chunks[0].HasField("output")) == (JobState.COMPLETED, "", False)
"""


@pytest.mark.parametrize("program", [STREAM, CALL, RUNNER, REPORTS], ids=["stream", "call", "runner", "reports"])
def test_a_forked_process_is_refused_what_its_parent_has_open(server: Server, kind: str, program: str):
    command = [sys.executable, "-c", START + program, server.target, kind]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=BOUND, check=False)
    assert ran.returncode == 0, ran.stderr


def test_a_block_whose_runner_is_closed_waits_for_nothing(server: Server, sync_client: JobClient, kind: str):
    job_id = sync_client.create_job(kind).job.job_id
    runner = EngineRunner(server.target)
    closing = threading.Thread(target=runner.close)
    with pytest.raises(ClientClosedError, match="closed meanwhile"), runner.attempt(job_id, task_id="a"):  # noqa: PT012 - the block is what is tested
        closing.start()
        closing.join(BOUND)
    assert sync_client.get_job(job_id, view=JobView.FULL).chunks[0].state == CHUNK_PROCESSING, "its lease expires"
