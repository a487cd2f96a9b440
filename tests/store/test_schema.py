"""Migrations from the first to the newest make the schema that the tables of the core and of features describe."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from jobledger_service.core.database.engines import Database, open_database
from jobledger_service.core.database.maintenance.migrate import upgrade

from tests.support.databases import empty_postgres
from tests.support.schemas import create_described, metadata, schema


@pytest.fixture
def empty(store: str, tmp_path: Path) -> Iterator[Database]:
    """Return a database without tables."""
    url = f"sqlite:///{tmp_path}/empty.db" if store == "sqlite" else empty_postgres()
    with closing(open_database(url)) as opened:
        yield opened


def is_ours(name: str | None, type_: str, _parents: object) -> bool:
    """Leave out the tables that FTS5 keeps for itself."""
    return type_ != "table" or not str(name).startswith("job_search")


@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index")
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")  # SQLite has one
def test_alembic_finds_nothing_to_migrate(database: Database):
    with database.write() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": is_ours})
        assert compare_metadata(context, metadata) == []


def test_migrations_make_what_the_tables_describe(empty: Database, database: Database):
    """Alembic compares neither checks, conditions of indexes, collations nor options of tables."""
    with empty.change_schema() as connection:
        create_described(connection)
        described = schema(connection)
    with database.read() as connection:
        assert schema(connection) == described
    assert set(described) >= {"jobs", "jobs_waiting", "chunks", "events_by_owner", "api_keys", "usage", "workers"}


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE jobs ADD COLUMN surplus TEXT",
        "DROP INDEX jobs_waiting",
        "CREATE INDEX surplus ON jobs (job_id)",
        "CREATE TABLE surplus (id BIGINT)",
    ],
)
def test_a_difference_is_found(database: Database, change: str):
    with database.change_schema() as connection:
        before = schema(connection)
        connection.exec_driver_sql(change)
        assert schema(connection) != before


def test_an_upgrade_runs_once(empty: Database):
    assert upgrade(empty)
    assert not upgrade(empty)
    with empty.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM ledger").scalar_one() == 1
        assert connection.exec_driver_sql("SELECT position FROM webhook_checkpoint").scalar_one() == 0
