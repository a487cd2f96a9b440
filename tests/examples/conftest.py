"""Fixtures of the tests of the examples: a server and a folder for each."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from jobledger_client import JobClient

from tests.conftest import QUICK
from tests.support.bounds import CALL_TIMEOUT
from tests.support.databases import new_database
from tests.support.server import Server


@pytest.fixture(scope="module")
def server(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server of the example's own: its users and jobs have the names that they always have."""
    directory = tmp_path_factory.mktemp("server")
    own = Server(new_database(store, directory), directory, QUICK).start()
    yield own
    assert own.stop() == 0
    assert own.defects() == [], "the server logged what should never happen"


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    """Return what ends the processes of an example."""
    with ExitStack() as one:
        yield one


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an example."""
    return tmp_path_factory.mktemp("example")


@pytest.fixture(scope="module")
def caller(server: Server) -> Iterator[JobClient]:
    """Return a client."""
    with JobClient(server.target, timeout=CALL_TIMEOUT) as one:
        yield one
