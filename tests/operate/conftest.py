"""What the tests of a running server read: its metrics, and its health from the command line."""

import asyncio
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import Result
from jobledger_service.cli import main as cli
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from tests.conftest import QUICK
from tests.support.bounds import BOUND
from tests.support.databases import new_database
from tests.support.server import Server

Labels = dict[str, str]


@dataclass
class Scrape:
    """One reading of /metrics."""

    samples: list[tuple[str, Labels, float]] = field(default_factory=list)

    @property
    def names(self) -> set[str]:
        return {name for name, _, _ in self.samples}

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the samples that have these labels, 0 when there are none."""
        found = [value for one, its, value in self.samples if one == name and labels.items() <= its.items()]
        return sum(found)


Start = Callable[..., Server]


@pytest.fixture
def start_sqlite(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a server on SQLite: for what the store has no part in, one is enough."""
    started: list[Server] = []

    def start(**settings: str) -> Server:
        started.append(Server(new_database("sqlite", tmp_path), tmp_path, QUICK | settings))
        return started[-1].start()

    yield start
    for server in started:
        server.kill()


def lines(server: Server, event: str) -> list[dict[str, str]]:
    """Return the lines of a server's log that tell of an event."""
    return [line for line in map(json.loads, server.log.read_text().splitlines()) if line["event"] == event]


def scrape(server: Server, process: int = -1) -> Scrape:
    """Read a server's metrics where it says that they are."""
    address = lines(server, "metrics")[process]["address"]
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=BOUND) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return Scrape([(one.name, one.labels, one.value) for family in families for one in family.samples])


def scrape_when(server: Server, counted: Callable[[Scrape], bool]) -> Scrape:
    """Return the first metrics in which something is counted: a call is counted after its caller has the answer."""
    deadline = time.monotonic() + BOUND
    while not counted(seen := scrape(server)):
        assert time.monotonic() < deadline, "it was never counted"
    return seen


def health(target: str, *flags: str) -> Result:
    """Run `jobledger-server health`."""
    return CliRunner().invoke(cli.cli, ["health", "--target", target, "--timeout", f"{BOUND}", *flags])


async def ask_health(target: str, *flags: str) -> Result:
    """Run `jobledger-server health` beside the event loop."""
    return await asyncio.to_thread(health, target, *flags)
