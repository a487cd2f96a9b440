"""Three replicas over one PostgreSQL, which the tests of this folder share."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import QUICK
from tests.support.api import Api
from tests.support.databases import new_database
from tests.support.server import Server, running

SETTINGS = QUICK | {"TRIM_SECONDS": "0.2"}

Connect = Callable[..., Api]


@contextmanager
def serving(
    database: str, directory: Path, count: int, kind: type[Server] = Server, **settings: str
) -> Iterator[list[Server]]:
    """Start replicas together; at the end those that still run drain, and none has logged what should never happen."""
    servers = [kind(database, directory, SETTINGS | settings) for _ in range(count)]
    try:
        with ThreadPoolExecutor(count) as threads:
            list(threads.map(Server.start, servers))
        yield servers
        drained = [server for server in servers if server in running]
        for server in drained:
            server.terminate()
        assert [server.wait() for server in drained] == [0] * len(drained)
        assert [server.defects() for server in servers] == [[]] * count
    finally:
        for server in servers:
            if server in running:
                server.kill()


@pytest.fixture(scope="package")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Return three replicas."""
    directory = tmp_path_factory.mktemp("replicas")
    with serving(new_database("postgresql", directory), directory, 3) as servers:
        yield servers


@pytest.fixture
def apis(three: list[Server], connect: Connect) -> list[Api]:
    """Return the APIs of the three replicas."""
    return [connect(server) for server in three]
