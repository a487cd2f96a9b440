"""A worker's process that is asked to stop gives its chunks back, whatever its handlers do."""

import signal
import subprocess
import sys

import pytest
from jobledger_client import ChunkState, JobClient, JobView

from tests.support.bounds import BOUND
from tests.support.server import Server

pytestmark = [
    pytest.mark.long,  # processes are started and stopped
    pytest.mark.one_store("the SDK sees messages, not the store"),
]

PROGRAM = """
import asyncio, sys
from datetime import timedelta
from jobledger_client import Worker
worker = Worker(sys.argv[1], drain_timeout=timedelta(seconds=0.01), cancel_grace=timedelta(seconds=1))
@worker.handler(sys.argv[2])
async def handler(ctx):
    print("started", flush=True)
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if sys.argv[3] == "obeys":
                raise
worker.run()
print("stopped", flush=True)
"""


@pytest.mark.parametrize(
    ("number", "handler"), [(signal.SIGTERM, "obeys"), (signal.SIGINT, "obeys"), (signal.SIGTERM, "swallows")]
)
def test_a_worker_process_gives_back_its_chunks_when_it_is_asked_to_stop(
    sync_client: JobClient, server: Server, kind: str, number: signal.Signals, handler: str
):
    job = sync_client.create_job(kind).job
    command = [sys.executable, "-c", PROGRAM, server.target, kind, handler]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(number)
        try:
            output, errors = process.communicate(timeout=BOUND)
        finally:
            process.kill()
    assert (process.returncode, output) == (0, "stopped\n")
    assert bool(errors) is (handler == "swallows"), errors
    chunk = sync_client.get_job(job.job_id, view=JobView.FULL).chunks[0]
    assert (chunk.state, chunk.attempt) == (ChunkState.PENDING, 0)
