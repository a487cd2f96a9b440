"""A large ledger on each store, for reading."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from jobledger_service.core.database.engines import Database, open_database
from jobledger_service.core.database.maintenance.migrate import upgrade

from tests.support.crowds import many
from tests.support.databases import new_database


@pytest.fixture(scope="session")
def large(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Return a database of 100,000 jobs."""
    with closing(open_database(new_database(store, tmp_path_factory.mktemp("large")))) as database:
        upgrade(database)
        many(database, 500, 199)
        yield database
