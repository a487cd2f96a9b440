"""Fixtures: a broker, workers and a dispatcher, each a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from jobledger_client import JobClient

from examples.image_crawler.broker import MISSING, free_port, program, start
from tests.celery.app import app
from tests.support.bounds import BOUND, CALL_TIMEOUT
from tests.support.server import Server

ROOT = Path(__file__).parents[2]

Start = Callable[..., "subprocess.Popen[bytes]"]


class Broker:
    """A Redis that keeps nothing on disk: what it held is gone when it is killed."""

    def __init__(self, *options: str) -> None:
        self._port = free_port()
        self._options = options
        self.address = f"127.0.0.1:{self._port}"
        self.url = f"redis://{self.address}/0"
        self.start()

    def start(self) -> None:
        self._process = start(self._port, *self._options)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(BOUND)

    def suspend(self) -> None:
        """Leave it there, with its port, and without an answer to anything, until it is resumed or killed."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def broker_of_its_own(*options: str) -> Iterator[Broker]:
    """Run a Redis with options of its own."""
    if program() is None:
        pytest.skip(MISSING)
    one = Broker(*options)
    try:
        yield one
    finally:
        one.kill()


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """Return the broker that the tests share."""
    with broker_of_its_own() as one:
        yield one


@contextmanager
def process(environment: Mapping[str, str], log: Path, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run Python as the leader of a process group, which is killed in the end."""
    with log.open("ab") as output:
        started = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        yield started
    finally:
        kill_all(started)


def kill_all(leader: "subprocess.Popen[bytes]") -> None:
    """Kill a process and its children, as a machine that is switched off does."""
    if leader.poll() is None:
        os.killpg(leader.pid, signal.SIGKILL)
    leader.wait(BOUND)


class Plant:
    """What runs the tasks of one test module: workers and a dispatcher on a broker, and their notes."""

    def __init__(self, stack: ExitStack, broker: Broker, target: str, folder: Path) -> None:
        self._stack = stack
        self.folder = folder
        app.conf.update(broker_url=broker.url)  # the tests send and revoke too
        self.environment = {"TEST_BROKER": broker.url, "TEST_TARGET": target, "TEST_FOLDER": str(folder)}

    def worker(self, name: str, concurrency: int = 2) -> "subprocess.Popen[bytes]":
        """Start a worker."""
        options = ["--without-gossip", "--without-mingle", "--loglevel", "info", "-n", f"{name}@test"]
        celery = ["-m", "celery", "-A", "tests.celery.app", "worker", f"--concurrency={concurrency}", *options]
        return self._stack.enter_context(process(self.environment, self.folder / f"{name}.log", *celery))

    def dispatcher(self) -> "subprocess.Popen[bytes]":
        """Start a dispatcher."""
        log = self.folder / "dispatcher.log"
        return self._stack.enter_context(process(self.environment, log, "-m", "tests.celery.app"))

    def notes(self, job_id: str, index: int = 0) -> list[str]:
        """Return what the tasks have written down of a chunk."""
        file = self.folder / f"{job_id}-{index}"
        return file.read_text().split() if file.exists() else []

    def log(self, name: str) -> list[str]:
        """Return the lines that a worker has logged."""
        return (self.folder / f"{name}.log").read_text().splitlines()

    def say(self, job_id: str, word: str) -> None:
        """Tell the tasks of a job something."""
        (self.folder / f"{job_id}.{word}").touch()


@pytest.fixture(scope="module")
def plant(broker: Broker, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """Return two workers' processes and a dispatcher."""
    with ExitStack() as stack:
        one = Plant(stack, broker, server.target, tmp_path_factory.mktemp("celery"))
        one.worker("shared", concurrency=3)
        one.dispatcher()
        yield one


@pytest.fixture(scope="module")
def caller(server: Server) -> Iterator[JobClient]:
    """Return a client."""
    with JobClient(server.target, timeout=CALL_TIMEOUT) as one:
        yield one


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show the logs of the processes under a test that failed."""
    report = yield
    plant = getattr(item, "funcargs", {}).get("plant") or getattr(item, "funcargs", {}).get("own_plant")
    if report.failed and plant is not None:
        report.sections += [(log.name, log.read_text()[-4_000:]) for log in plant.folder.glob("*.log")]
    return report
