"""The demo: a real job, three workers of which one is killed, exact totals, and a job that is cancelled."""

import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from google.protobuf.json_format import MessageToDict
from jobledger.v1.job_pb2 import Job
from jobledger_client import AttemptOutcome, CancelOutcome, ChunkState, JobClient, JobState, RetryPolicy
from jobledger_client.testing import running_server

from examples.processes import ending, say

from . import processes
from .sources import FILES_PER_CHUNK, KIND, Totals, count_all, sources

VICTIM = "worker-2"
KILL_AT = 30.0
CANCEL_AT = 10.0


def create(client: JobClient, name: str, files: int) -> Job:
    """Create the job: one item a file."""
    created = client.create_job(
        KIND,
        display_name=name,
        item_count=files,
        chunk_size=FILES_PER_CHUNK,
        retry_policy=RetryPolicy(initial_backoff=timedelta(milliseconds=200)),
    )
    return created.job


def kill_midway(client: JobClient, job_id: str, victim: subprocess.Popen[str]) -> None:
    """Wait until the job is well under way and the victim holds a chunk, and kill it there."""
    with client.watch(job_id) as messages:
        for message in messages:
            held = [c.index for c in message.chunks if c.worker == VICTIM and c.state == ChunkState.PROCESSING]
            if message.job.progress.percent >= KILL_AT and held:
                victim.kill()
                return
    raise SystemExit(f"the job ended before {VICTIM} could be killed")


def totals_of(client: JobClient, job_id: str) -> Totals:
    """Add up the outputs of all chunks."""
    totals = Totals()
    for chunk in client.list_chunks(job_id):
        totals += Totals.of(MessageToDict(chunk.output))
    return totals


def check(client: JobClient, job_id: str, files: list[Path]) -> None:
    """Compare the job's totals with a plain loop over the same files."""
    say("\nThe same in a plain loop, to compare ...")
    began = time.monotonic()
    plain = count_all(files)
    say(f"  done in {time.monotonic() - began:.1f} s on one core\n")
    counted = totals_of(client, job_id)
    for name, value in asdict(plain).items():
        theirs = asdict(counted)[name]
        shown = (f"{value:x}"[:16], f"{theirs:x}"[:16]) if name == "digest" else (f"{value:,}", f"{theirs:,}")
        verdict = "equal" if value == theirs else "DIFFERENT"
        say(f"  {name:<13} plain loop {shown[0]:>18}   job {shown[1]:>18}   {verdict}")
    if plain != counted:
        raise SystemExit("the job's totals are not those of the plain loop")


def tell_expiries(client: JobClient, job_id: str) -> None:
    """Show what the ledger says of the killed worker."""
    say(f"\nWhat the ledger says of {VICTIM}:")
    expired = [attempt for attempt in client.list_attempts(job_id) if attempt.outcome == AttemptOutcome.EXPIRED]
    for attempt in expired:
        say(f"  chunk {attempt.chunk_index}, attempt {attempt.number}: {attempt.error.message}")
    if not expired:
        raise SystemExit("no lease expired, although its worker was killed")


def cancel_another(client: JobClient, files: int) -> None:
    """Create a second job, cancel it while it runs, and follow it to its end."""
    job = create(client, "the standard library, to be cancelled", files)
    say(f"\nA second job, {job.job_id}, to be cancelled while it runs:")
    asked, shown = False, -1
    with client.watch(job.job_id) as messages:
        for message in messages:
            job = message.job
            if job.state != shown:
                in_work = job.chunks_summary.processing
                say(f"  {JobState(job.state).name} at {job.progress.percent:.0f} %, {in_work} in work")
                shown = job.state
            if not asked and job.progress.percent >= CANCEL_AT and job.chunks_summary.processing:
                answer = client.cancel_job(job.job_id, reason="seen enough")
                say(f"  CancelJob answers {CancelOutcome(answer.outcome).name}")
                asked = True
    if job.state != JobState.CANCELLED:
        raise SystemExit("the second job was not cancelled")
    summary = job.chunks_summary
    say(f"  {summary.completed} of {summary.total} chunks were completed, {summary.cancelled} cancelled")


NEXT = """
Next, in one terminal:   make run
and in another:

  .venv/bin/jobledger create crawl.images --items 2500 --display-name "my first crawl"
  .venv/bin/jobledger list

  grpcurl -plaintext 127.0.0.1:7070 list
  grpcurl -plaintext -d '{"kind": "crawl.images", "item_count": 2500}' \\
      127.0.0.1:7070 jobledger.v1.JobService/CreateJob
  grpcurl -plaintext -d '{"job_id": "JOB_ID"}' 127.0.0.1:7070 jobledger.v1.JobService/WatchJob

  from jobledger_client import JobClient
  with JobClient("127.0.0.1:7070") as client:
      job = client.create_job("crawl.images", item_count=2500).job
      for message in client.watch(job.job_id):
          print(message.job.progress.percent)
"""


def run(folder: Path) -> None:
    """Run the demo with its files in `folder`."""
    files = sources()
    with ExitStack() as stack:
        target = stack.enter_context(running_server(directory=folder))
        client = stack.enter_context(JobClient(target))
        workers = {name: processes.worker(target, name) for name in ("worker-1", VICTIM, "worker-3")}
        for process in workers.values():
            stack.enter_context(ending(process))
        job = create(client, "the standard library", len(files))
        chunks = job.chunks_summary.total
        say(f"A server on {target}, three workers, and a job of {len(files)} files in {chunks} chunks.")
        say("Each file is hashed, and its lines and syntax nodes are counted.")
        say(f"At {KILL_AT:.0f} % {VICTIM} gets a SIGKILL: its leases run out in 3 s, and the others continue.\n")
        watching = stack.enter_context(ending(processes.show(target, job.job_id)))
        kill_midway(client, job.job_id, workers[VICTIM])
        if watching.wait() != 0:
            raise SystemExit("the job did not complete")
        tell_expiries(client, job.job_id)
        check(client, job.job_id, files)
        cancel_another(client, len(files))
    say(NEXT)


def main() -> None:
    """Run the demo in a temporary folder that goes when it ends."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="jobledger-demo-"))
    try:
        run(folder)
    except KeyboardInterrupt:
        say("\nstopped")
        sys.exit(130)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    say(f"The demo took {time.monotonic() - began:.0f} s. Nothing is left running.")


if __name__ == "__main__":
    main()
