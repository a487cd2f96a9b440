"""A server that several owners share, each with a key of its own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from jobledger.v1.admin_service_pb2 import RevokeApiKeyRequest

from tests.conftest import QUICK
from tests.isolation.large_jobs import LargeLedger, large_ledger
from tests.operate.conftest import Scrape, scrape
from tests.support.databases import new_database
from tests.support.keys import CALLER, WORKER, KeyedApi, first_key
from tests.support.server import Server


class Tenants:
    """A server with keys and metrics, and the APIs of the owners who use it."""

    def __init__(self, store: str, directory: Path, **settings: str) -> None:
        database = new_database(store, directory)
        token = first_key(database)
        needed = {"auth": "keys", "metrics_listen": "127.0.0.1:0"}
        self.server = Server(database, directory, QUICK | needed | settings).start()
        self.admin = KeyedApi(self.server.target, token)
        self._opened = [self.admin]
        self._key_ids: dict[str, str] = {}

    async def api(self, owner: str) -> KeyedApi:
        """Return the API of an owner, with a key and a connection of its own."""
        made = await self.admin.make(CALLER, WORKER, owner=owner)
        self._opened.append(KeyedApi(self.server.target, made.token))
        self._key_ids[made.token] = made.api_key.key_id
        return self._opened[-1]

    async def revoke(self, api: KeyedApi) -> None:
        """Revoke an API's key."""
        await self.admin.admin.RevokeApiKey(RevokeApiKeyRequest(key_id=self._key_ids[api.token]))

    def restart(self) -> None:
        """Stop the server and start it again."""
        assert self.server.stop() == 0
        self.server.start()

    def scrape(self) -> Scrape:
        """Read the server's metrics."""
        return scrape(self.server)

    async def close(self) -> None:
        """Close the connections, and stop the server, which must not have logged a defect."""
        for api in self._opened:
            await api.channel.close()
        assert self.server.stop() == 0
        assert self.server.defects() == []


@pytest.fixture
async def tenants(store: str, tmp_path: Path) -> AsyncIterator[Tenants]:
    """Return a server of the test's own."""
    shared = Tenants(store, tmp_path)
    yield shared
    await shared.close()


@pytest.fixture
def ledger(store: str, tmp_path: Path) -> Iterator[LargeLedger]:
    """Return a ledger in this process, over a new database."""
    with large_ledger(new_database(store, tmp_path)) as opened:
        yield opened
