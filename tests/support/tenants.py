"""Owners who share a server: each with a key of its own, so that one can be hostile and another watched."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import QUICK
from tests.support.databases import new_database
from tests.support.keys import CALLER, WORKER, KeyedApi, first_key
from tests.support.server import Server


@dataclass(frozen=True, slots=True)
class Shared:
    """A server with keys, and the token of its admin."""

    server: Server
    token: str

    @asynccontextmanager
    async def tenant(self, owner: str) -> AsyncIterator[KeyedApi]:
        """Give the API of a caller and worker of this owner."""
        admin = KeyedApi(self.server.target, self.token)
        made = await admin.make(CALLER, WORKER, owner=owner)
        await admin.channel.close()
        api = KeyedApi(self.server.target, made.token)
        yield api
        await api.channel.close()


@contextmanager
def shared_server(store: str, directory: Path, **settings: str) -> Iterator[Shared]:
    """Give a server with keys; nothing may be in its log at the end that should never happen."""
    database = new_database(store, directory)
    token = first_key(database)
    server = Server(database, directory, QUICK | {"auth": "keys"} | settings).start()
    try:
        yield Shared(server, token)
        assert server.stop() == 0
        assert server.defects() == []
    finally:
        server.kill()
