"""Three replicas over one PostgreSQL, which the tests of this folder share."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.api import Api
from tests.support.databases import new_database
from tests.support.server import Server

SETTINGS = {"log_format": "json", "duty_interval": "0.2", "retention_interval": "0.2", "bookmark_interval": "0.5"}

Connect = Callable[..., Api]


@pytest.fixture(scope="package")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Return three replicas; at the end each drains, and none has logged what should never happen."""
    directory = tmp_path_factory.mktemp("replicas")
    database = new_database("postgresql", directory)
    servers = [Server(database, directory, SETTINGS) for _ in range(3)]
    try:
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(Server.start, servers))
        yield servers
        for server in servers:
            server.terminate()
        assert [server.wait() for server in servers] == [0, 0, 0]
        assert [server.defects() for server in servers] == [[], [], []]
    finally:
        for server in servers:
            if server.process is not None and server.process.poll() is None:
                server.kill()


@pytest.fixture
def apis(three: list[Server], connect: Connect) -> list[Api]:
    """Return the APIs of the three replicas."""
    return [connect(server) for server in three]
