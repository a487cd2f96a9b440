"""The demo: work and watchers on three replicas, one of them killed and one drained, and then the books are checked."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from jobledger.v1.job_pb2 import Job
from jobledger_client import TERMINAL_STATES, EventOrder, JobClient, JobState, NewJob, RetryPolicy

from examples.processes import BIN, PATIENCE, ending, say

from .checker import Faults, Seen, faults, stream_of
from .databases import database, postgres
from .targets import OPTIONS, target
from .watchers import READY
from .worker import KIND

REPLICAS, WORKERS, WATCHERS = 3, 3, 50
JOBS, CHUNKS = 12, 40
KILL_AT, DRAIN_AT = 30.0, 60.0
SAY_EVERY = 2.0
QUIET = {**os.environ, "GRPC_VERBOSITY": "ERROR"}  # gRPC logs each connection that the drained replica closes


class Replica:
    """One server process and its address."""

    def __init__(self, stack: ExitStack, name: str, url: str) -> None:
        command = [str(BIN / "jobledger-server"), "serve", "--listen", "127.0.0.1:0", "--database", url]
        # A process group of its own: Ctrl-C ends the demo, and the demo ends its processes in order.
        self.process = subprocess.Popen(
            [*command, "--log-level", "warning"], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        stack.enter_context(ending(self.process))
        self.name = name

    def address(self) -> str:
        """Wait until the replica serves, and return where."""
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise SystemExit(f"{self.name} did not start; its reason is above")
        return line.split()[-1]

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self.process.kill()
        say(f"\n*** SIGKILL for {self.name}: its watchers and its worker continue elsewhere ***\n")

    def drain(self) -> None:
        """Ask it to end, as a rolling update does."""
        self.process.send_signal(signal.SIGTERM)
        say(f"\n*** SIGTERM for {self.name}: it drains ***\n")


def module(stack: ExitStack, name: str, *arguments: str, stdout: int | None = None) -> subprocess.Popen[str]:
    """Start a module of the demo as a process."""
    command = [sys.executable, "-m", f"examples.replicas.{name}", *arguments]
    process = subprocess.Popen(command, stdout=stdout, text=True, start_new_session=True, env=QUIET)
    return stack.enter_context(ending(process))


def start_watchers(stack: ExitStack, folder: Path, cursor: bytes, addresses: Sequence[str]) -> subprocess.Popen[str]:
    """Start the watchers, and return when each has received a message from its replica."""
    arguments = (str(WATCHERS), str(JOBS), str(folder), cursor.hex(), *addresses)
    watchers = module(stack, "watchers", *arguments, stdout=subprocess.PIPE)
    if watchers.stdout is None or watchers.stdout.readline().strip() != READY:
        raise SystemExit("the watchers did not start; their reason is above")
    return watchers


def create(client: JobClient) -> list[Job]:
    """Create the jobs."""
    policy = RetryPolicy(max_attempts=10, initial_backoff=timedelta(milliseconds=200))
    new = [
        NewJob(
            KIND, display_name=f"job {n}", item_count=CHUNKS, chunk_size=1, retry_policy=policy, request_id=f"demo-{n}"
        )
        for n in range(1, JOBS + 1)
    ]
    return [outcome.job for outcome in client.create_jobs(new) if outcome.job]


def follow(client: JobClient, cursor: bytes, doomed: Replica, leaving: Replica) -> None:
    """Watch the work until all jobs have ended, and take the replicas away on the way."""
    percents: dict[str, float] = {}
    ended: set[str] = set()
    due, said = [(KILL_AT, doomed.kill), (DRAIN_AT, leaving.drain)], 0.0
    with client.watch_jobs(kinds=[KIND], cursor=cursor) as messages:
        for message in messages:
            job = message.job
            percents[job.job_id] = job.progress.percent
            if job.state in TERMINAL_STATES:
                ended.add(job.job_id)
                if job.state != JobState.COMPLETED:
                    raise SystemExit(f"{job.display_name} ended as {JobState(job.state).name}")
            done = sum(percents.values()) / JOBS
            if due and done >= due[0][0]:
                due.pop(0)[1]()
            if time.monotonic() - said >= SAY_EVERY or len(ended) == JOBS:
                said = time.monotonic()
                say(f"  {done:5.1f} % of the work, {len(ended):2} of {JOBS} jobs ended, at {message.event.position}")
            if len(ended) == JOBS:
                return


def check(client: JobClient, folder: Path, jobs: Sequence[Job]) -> None:
    """Compare each watcher's stream with the ledger, and exit with an error unless they are the same."""
    ledger = [
        Seen(event.position, event.revision, event.job_id)
        for job in jobs
        for event in client.list_events(job.job_id, order=EventOrder.POSITION_ASC)
    ]
    streams = [stream_of(file) for file in sorted(folder.glob("watcher-*.txt"))]
    total = sum((faults(stream, ledger) for stream in streams), Faults())
    say(f"\n{len(streams)} watchers have each read {len(ledger)} events of {len(jobs)} jobs:")
    say(f"  missed      {total.missed:6}\n  repeated    {total.repeated:6}\n  misordered  {total.misordered:6}")
    if len(streams) != WATCHERS or total != Faults():
        raise SystemExit("the streams are not what the ledger says")


def ended_well(process: subprocess.Popen[str], what: str) -> None:
    """Wait for a process that ends by itself, and exit with an error if it has failed."""
    if (status := process.wait(PATIENCE)) != 0:
        raise SystemExit(f"{what} ended with {status}")


def run(folder: Path) -> None:
    """Run the demo with its files in `folder`."""
    with ExitStack() as stack:
        say("PostgreSQL starts, and the schema is made ...")
        url = stack.enter_context(database(stack.enter_context(postgres(folder))))
        replicas = [Replica(stack, f"replica {n}", url) for n in range(1, REPLICAS + 1)]
        addresses = [replica.address() for replica in replicas]
        say(f"Replicas: {', '.join(addresses)}.")
        client = stack.enter_context(JobClient(target(addresses, 0), options=OPTIONS))
        cursor = client.list_jobs(page_size=1).page().cursor
        watchers = start_watchers(stack, folder, cursor, addresses)
        for n in range(WORKERS):
            module(stack, "worker", target(addresses, n), f"worker-{n + 1}")
        jobs = create(client)
        say(f"{WATCHERS} watchers and {WORKERS} workers, spread over them; {JOBS} jobs of {CHUNKS} chunks.\n")
        follow(client, cursor, doomed=replicas[1], leaving=replicas[2])
        ended_well(watchers, "the watchers' process")
        ended_well(replicas[2].process, "the drained replica")
        check(client, folder, jobs)


def main() -> None:
    """Run the demo in a temporary folder that goes when it ends."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="jobledger-replicas-"))
    try:
        run(folder)
    except KeyboardInterrupt:
        say("\nstopped")
        sys.exit(130)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    say(f"\nThe demo took {time.monotonic() - began:.0f} s. Nothing is left running.")


if __name__ == "__main__":
    main()
