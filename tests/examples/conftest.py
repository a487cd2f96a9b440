"""Fixtures of the tests of the examples: the server that all tests share, and a folder for each example."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from jobledger_client import JobClient

from tests.support.bounds import BOUND
from tests.support.server import Server


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
    with JobClient(server.target, timeout=BOUND) as one:
        yield one
