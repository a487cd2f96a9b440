"""The demo: a primary's host, a server and the network are lost under load, and then the books are checked."""

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import psycopg
from jobledger_client import EventOrder, JobClient, JobledgerError

from examples.processes import BIN, ending, say, stage
from examples.replicas.checker import Faults, Seen, faults, stream_of
from examples.replicas.demo import QUIET, ended_well, module
from examples.replicas.targets import OPTIONS, target
from examples.replicas.watchers import READY
from examples.replicas.worker import KIND

from .hosts import Host, hosts
from .patroni import NAME, Database, Etcd, missing, primary_of, url_of, wait_for

DATABASES, SERVERS, WORKERS, WATCHERS = 3, 2, 3, 50
JOBS, CHUNKS = 240, 2
PAUSE = 0.2
"""Seconds between two jobs, until all steps are done."""
STEADY = 10
"""Jobs that are acknowledged before the next step."""
LAST_LINES = 40
"""Lines that are printed of each log when the demo fails."""


class Writer(threading.Thread):
    """Creates one job after the other, and notes when each was acknowledged; a job that was not is sent again."""

    def __init__(self, client: JobClient) -> None:
        super().__init__(daemon=True)
        self.acknowledged: list[str] = []
        self.times = [time.monotonic()]
        self.pause = PAUSE
        self._client = client
        self._stopped = threading.Event()

    def run(self) -> None:
        """Create all jobs."""
        while len(self.acknowledged) < JOBS and not self._stopped.wait(self.pause):
            number = len(self.acknowledged)
            try:
                made = self._client.create_job(
                    KIND, item_count=CHUNKS, chunk_size=1, max_attempts=20, request_id=f"failover-{number}"
                )
            except JobledgerError:
                continue
            self.acknowledged.append(made.job.job_id)
            self.times.append(time.monotonic())

    def stop(self) -> None:
        """Stop in the middle."""
        self._stopped.set()
        self.join()

    def steady(self) -> None:
        """Wait until some more jobs are acknowledged."""
        goal = len(self.acknowledged) + STEADY
        wait_for("that jobs are acknowledged again", lambda: len(self.acknowledged) >= goal)

    def longest_silence(self, since: float) -> float:
        """Return the most seconds between two acknowledgements since a time."""
        recent = [when for when in self.times if when >= since]
        return max((after - before for before, after in zip([since, *recent], recent, strict=False)), default=0.0)


class Server:
    """A Jobledger server, which can be started again at its address."""

    def __init__(self, stack: ExitStack, url: str, log: Path) -> None:
        self._stack, self._url, self._log, self.address = stack, url, log, "127.0.0.1:0"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it serves."""
        command = [str(BIN / "jobledger-server"), "serve", "--listen", self.address, "--database", self._url]
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )
        self._stack.enter_context(ending(self.process))
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise SystemExit(f"a server did not start:\n{self._log.read_text()[-2_000:]}")
        self.address = line.split()[-1]

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()


class Show:
    """The steps, in their order, with how long nobody got an acknowledgement in each."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def step(self, what: str, act: Callable[[], object]) -> None:
        """Do something, and wait until writes are acknowledged again."""
        say(f"\n*** {what} ***")
        begin = time.monotonic()
        act()
        self._writer.steady()
        silence = self._writer.longest_silence(begin)
        count = len(self._writer.acknowledged)
        say(f"  {count:3} jobs acknowledged; at most {silence:.1f} s without an acknowledgement")


def lose(host: Host) -> None:
    """SIGKILL all processes of a host, and cut it off."""
    host.kill()
    host.cut()


def start_ledger(stack: ExitStack, folder: Path, address: str, made: Sequence[Host]) -> tuple[list[Database], str]:
    """Start etcd and the databases, and return these with the URL of the ledger, whose schema is made."""
    etcd = Etcd(folder, address)
    stack.callback(etcd.stop)
    wait_for("that etcd serves", etcd.decided)
    databases = [Database(host, etcd) for host in made]
    for database in databases:
        database.start()
    primary = primary_of(databases)
    with psycopg.connect(**primary.where, autocommit=True) as connection:  # type: ignore[arg-type]
        connection.execute(f"CREATE DATABASE {NAME}".encode())
    url = url_of(databases)
    subprocess.run([str(BIN / "jobledger-server"), "migrate", "--database", url], check=True)
    return databases, url


def check(client: JobClient, folder: Path, writer: Writer, seconds: float) -> None:
    """Compare what was acknowledged and what was watched with the ledger; exit with an error unless nothing is lost."""
    stored = {job.job_id for job in client.list_jobs(kinds=[KIND], page_size=500)}
    lost = len(set(writer.acknowledged) - stored)
    ledger = [
        Seen(event.position, event.revision, event.job_id)
        for job_id in sorted(stored)
        for event in client.list_events(job_id, order=EventOrder.POSITION_ASC)
    ]
    streams = [stream_of(file) for file in sorted(folder.glob("watcher-*.txt"))]
    total = sum((faults(stream, ledger) for stream in streams), Faults())
    say(f"\n{len(writer.acknowledged)} jobs were acknowledged, and {len(streams)} watchers read {len(ledger)} events:")
    say(f"  seconds without acknowledgements, at most {seconds:8.1f}")
    for what, count in (
        ("acknowledged writes lost", lost),
        ("gaps", total.missed),
        ("repeats", total.repeated),
        ("out of order", total.misordered),
    ):
        say(f"  {what:41} {count:8}")
    if lost or len(streams) != WATCHERS or total != Faults():
        raise SystemExit("the fail-over was noticed")


def run(stack: ExitStack, folder: Path) -> None:
    """Run the demo with its files in `folder`."""
    address, made = stack.enter_context(hosts(DATABASES, folder))
    what = (
        "network namespaces" if made[0].is_namespace else "processes behind proxies (namespaces are not allowed here)"
    )
    say(f"Three hosts: {what}.")
    say("Patroni makes a primary and its standbys, some 15 s ...")
    databases, url = start_ledger(stack, folder, address, made)
    servers = [Server(stack, url, folder / f"server-{n}.log") for n in range(SERVERS)]
    addresses = [server.address for server in servers]
    client = stack.enter_context(JobClient(target(addresses, 0), options=OPTIONS))
    cursor = client.list_jobs(page_size=1).page().cursor
    arguments = (str(WATCHERS), str(JOBS), str(folder), cursor.hex(), *addresses)
    watchers = module(stack, "watchers", *arguments, stdout=subprocess.PIPE)
    if watchers.stdout is None or watchers.stdout.readline().strip() != READY:
        raise SystemExit("the watchers did not start; their reason is above")
    for n in range(WORKERS):
        module(stack, "worker", target(addresses, n), f"worker-{n + 1}")
    writer = Writer(client)
    begun = time.monotonic()
    writer.start()
    stack.callback(writer.stop)
    writer.steady()
    say(f"{SERVERS} servers, {WORKERS} workers and {WATCHERS} watchers; {JOBS} jobs of {CHUNKS} chunks are created.")
    show, old = Show(writer), primary_of(databases)
    show.step(
        f"SIGKILL for all processes of {old.host.name}, the primary's host, and it is cut off", lambda: lose(old.host)
    )
    new = primary_of([database for database in databases if database is not old])
    say(f"  {new.host.name} is the primary now, with a synchronous standby")
    show.step(f"SIGKILL for the server at {servers[0].address}, which fed half of the watchers", servers[0].kill)
    servers[0].start()

    def come_back() -> None:
        old.start()
        old.host.heal()
        wait_for(f"that {old.host.name} is a standby", old.is_standby)

    show.step(f"the partition heals, and {old.host.name} comes back", come_back)
    say(f"  {old.host.name} is a standby now")
    writer.pause = 0.0
    writer.join()
    ended_well(watchers, "the watchers' process")
    check(client, folder, writer, writer.longest_silence(begun))


def print_logs(folder: Path) -> None:
    """Print the end of each log, from which one sees why the demo failed."""
    for log in sorted(folder.glob("*.log")):
        lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        say("\n".join((f"\nThe last lines of {log.name}:", *lines)))


def main() -> None:
    """Run the demo in a temporary folder that goes when it ends."""
    if lacking := missing():
        raise SystemExit(f"make demo-failover needs {' and '.join(lacking)}, not found on this machine")
    os.environ.update(QUIET)
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp())  # without one, the libraries of PostgreSQL warn
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with stage("failover") as (stack, folder):
        try:
            run(stack, folder)
        except SystemExit:
            print_logs(folder)
            raise


if __name__ == "__main__":
    main()
