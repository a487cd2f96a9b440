"""All who act for one owner: callers, watchers of every form, a worker within this process, and worker processes."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from google.protobuf.message import Message
from jobledger.v1.job_pb2 import JobState
from jobledger.v1.job_service_pb2 import CreateJobRequest

from tests.torture.assembly import Owner
from tests.torture.recorder import HistoryWriter, RecordedClient
from tests.torture.watchers import EVERY, LATEST, JobsWatcher, JobWatcher
from tests.torture.worker import Worker
from tests.torture.workload import SENTINEL, Caller, insist
from tests.torture.world import World

CALLERS = 3
WORKER_PROCESSES = 2
CHECK_SECONDS = 0.2
"""Seconds between two looks at whether a worker process has ended."""
UNFINISHED = (JobState.JOB_STATE_QUEUED, JobState.JOB_STATE_RUNNING)
WATCHERS: dict[str, dict[str, Any]] = {
    "every": {"mode": EVERY},
    "every-leaving": {"mode": EVERY, "leaves": True},
    "every-batches": {"mode": EVERY, "batches": True, "from_now": True},
    "every-after-list": {"mode": EVERY, "lists_first": True, "leaves": True},
    "latest": {"mode": LATEST, "leaves": True},
    "latest-slow": {"mode": LATEST, "slow": True},
    "latest-unfinished": {"mode": LATEST, "states": UNFINISHED, "leaves": True},
}


@dataclass
class Crew:
    """One owner's callers, watchers and workers."""

    owner: Owner
    secrets: list[bytes]
    world: World
    target: Callable[[], str]
    rng: Callable[[str], Random]
    writer: HistoryWriter
    observe: Callable[[Message], None]
    watchers: list[JobsWatcher] = field(default_factory=list)
    _tasks: list["asyncio.Task[None]"] = field(default_factory=list)
    _clients: list[RecordedClient] = field(default_factory=list)
    _started: int = 0

    def client(self, name: str) -> RecordedClient:
        """Return a client of this owner's, whose name has the owner's mark."""
        client = RecordedClient(
            self.target(), self.owner.token, self.owner.name, f"{self.owner.mark}-{name}", self.writer,
            self.secrets, self.observe,
        )  # fmt: skip
        self._clients.append(client)
        return client

    def start(self) -> None:
        """Start what goes on until it is ended: the watchers, and the worker within this process."""
        for name, form in WATCHERS.items():
            self.watchers.append(
                JobsWatcher(self.client(name), self.target, self.rng(f"{self.owner.name} {name}"), **form)
            )
        self._tasks += [asyncio.create_task(watcher.run()) for watcher in self.watchers]
        rng = self.rng(f"{self.owner.name} worker")
        self._tasks.append(asyncio.create_task(Worker(self.client("worker"), rng, self.target).run()))

    def load(self, goes_on: Callable[[], bool]) -> list[Coroutine[Any, Any, None]]:
        """Return what runs while the load goes on."""
        callers = []
        for n in range(CALLERS):
            rng = self.rng(f"{self.owner.name} caller {n}")
            callers.append(Caller(self.client(f"caller-{n}"), rng, self.target).run(goes_on))
        single = JobWatcher(self.client("single"), self.target, self.rng(f"{self.owner.name} single"))
        processes = [self._keep_worker(goes_on) for _ in range(WORKER_PROCESSES)]
        return [*callers, single.run(goes_on), *processes]

    async def _keep_worker(self, goes_on: Callable[[], bool]) -> None:
        """Keep one worker process, and start another in place of one that was killed."""
        process: subprocess.Popen[bytes] | None = None
        try:
            while goes_on():
                if process is None or process.poll() is not None:
                    process = self._replace(process)
                await asyncio.sleep(CHECK_SECONDS)
        finally:
            if process is not None:
                process.kill()
                process.wait()
                self.world.workers.remove(process)

    def _replace(self, ended: "subprocess.Popen[bytes] | None") -> "subprocess.Popen[bytes]":
        self._started += 1
        name = f"{self.owner.mark}-worker-{self._started}"
        targets = ",".join(map(self.world.target_of, self.world.servers))
        history = self.world.directory / f"calls-{name}.jsonl"
        seed = self.rng(f"{self.owner.name} worker {self._started}").getrandbits(32)
        words = ["--owner", self.owner.name, "--name", name, "--token", self.owner.token, "--history", str(history)]
        words += ["--targets", targets, "--seed", str(seed)]
        log = (self.world.directory / "workers.log").open("ab")
        with log:
            process = subprocess.Popen([sys.executable, "-m", "tests.torture.worker", *words], stderr=log)
        if ended is not None:
            self.world.workers.remove(ended)
        self.world.workers.append(process)
        return process

    async def finish(self, bound: float) -> None:
        """Create the last job of the owner, and give the watchers so many seconds to see it."""
        request = CreateJobRequest(kind=SENTINEL, request_id="sentinel", display_name=f"{self.owner.mark}-sentinel")
        await insist(self.client("last"), self.target, "CreateJob", request, repeats=300)
        waits = [asyncio.create_task(watcher.finished.wait()) for watcher in self.watchers]
        await asyncio.wait(waits, timeout=bound)
        for task in (*waits, *self._tasks):
            task.cancel()
        await asyncio.gather(*waits, *self._tasks, return_exceptions=True)
        for client in self._clients:
            await client.close()

    def failures(self) -> list[str]:
        """Return how tasks of the harness itself failed."""
        ended = [task for task in self._tasks if task.done() and not task.cancelled()]
        return [repr(error) for task in ended if (error := task.exception()) is not None]


def worker_log(folder: Path) -> str:
    """Return what worker processes said on standard error."""
    log = folder / "workers.log"
    return log.read_text(errors="replace") if log.exists() else ""
