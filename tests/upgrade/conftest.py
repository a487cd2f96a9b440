"""Databases of each released version, upgraded to this one."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest
from jobledger_service.core.database.engines import open_database
from jobledger_service.core.database.maintenance.migrate import upgrade

from tests.support.keys import KeyedApi
from tests.support.server import Server
from tests.upgrade.filling import Record
from tests.upgrade.fixtures import VERSIONS, load, record

STILL = {
    "auth": "keys", "DUE_SCAN_SECONDS": "3600", "TRIM_SECONDS": "3600", "event_retention": "30000d",
    "audit_retention": "30000d", "webhook_retention": "30000d", "indexed_labels": "user", "usage_retention": "30000d",
}  # fmt: skip
"""Settings with which a server leaves an old database as it is, though years have gone by."""

ConnectAs = Callable[[Server, str], KeyedApi]


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """Return a released version."""
    return request.param


@pytest.fixture
def recorded(version: str, store: str) -> Record:
    """Return what the released version answered."""
    return record(version, store)


@pytest.fixture
def loaded(version: str, store: str, tmp_path: Path) -> str:
    """Return a database of the released version, as it left it."""
    return load(version, store, tmp_path)


@pytest.fixture
def upgraded(loaded: str) -> str:
    """Return a database of the released version, migrated."""
    with closing(open_database(loaded)) as database:
        upgrade(database)
    return loaded


@pytest.fixture
async def connect_as() -> AsyncIterator[ConnectAs]:
    """Return a function that opens a channel to a server with a key, closed after the test."""
    async with AsyncExitStack() as stack:

        def connect(server: Server, token: str) -> KeyedApi:
            api = KeyedApi(server.target, token)
            stack.push_async_callback(api.channel.close)
            return api

        yield connect
