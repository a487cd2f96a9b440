"""A server with keys, which the tests of this folder share, and callers with keys of their own."""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.conftest import QUICK
from tests.support.databases import new_database
from tests.support.keys import CALLER, WORKER, KeyedApi, first_key
from tests.support.server import Server

SETTINGS = {"auth": "keys", "RECORD_SECONDS": "0.1", "channelz": "main"}
As = Callable[..., KeyedApi]


@dataclass
class Keyed:
    """A server, or two on PostgreSQL, and the token of an admin."""

    replicas: list[Server]
    token: str


@pytest.fixture(scope="package")
def keyed(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """Return servers with keys over one database: one on SQLite, which has no more, and two on PostgreSQL."""
    directory = tmp_path_factory.mktemp("keyed")
    database = new_database(store, directory)
    token = first_key(database)
    count = 1 if store == "sqlite" else 2
    replicas = [Server(database, directory, QUICK | SETTINGS).start() for _ in range(count)]
    yield Keyed(replicas, token)
    assert [server.stop() for server in replicas] == [0] * count
    assert [server.defects() for server in replicas] == [[]] * count


@pytest.fixture
async def as_holder() -> AsyncIterator[As]:
    """Return a function that opens a channel to a server with a token; closed after the test."""
    opened: list[KeyedApi] = []

    def open_api(server: Server | KeyedApi, token: str) -> KeyedApi:
        opened.append(KeyedApi(server.target, token))
        return opened[-1]

    yield open_api
    for api in opened:
        await api.channel.close()


@pytest.fixture
def admin(keyed: Keyed, as_holder: As) -> KeyedApi:
    """Return the API of the first server as its admin calls it."""
    return as_holder(keyed.replicas[0], keyed.token)


@pytest.fixture
def owner(kind: str) -> str:
    """Return an owner that no other test uses."""
    return f"o{kind.rpartition('.')[2]}"


@pytest.fixture
async def theirs(keyed: Keyed, admin: KeyedApi, as_holder: As, owner: str) -> KeyedApi:
    """Return the API of that owner's caller and worker."""
    return as_holder(keyed.replicas[-1], (await admin.make(CALLER, WORKER, owner=owner)).token)
