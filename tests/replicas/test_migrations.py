"""Migrations: a schema that does not fit is refused in a sentence, and of several that run at once one migrates."""

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from tests.replicas.conftest import SETTINGS
from tests.replicas.test_lost_database import blocked
from tests.support.bounds import BOUND
from tests.support.databases import new_database
from tests.support.postgres import address
from tests.support.postgres import connect as connect_to_database
from tests.support.server import COMMAND, Server
from tests.test_server import refused_to_start

pytestmark = pytest.mark.long  # several servers over one database, which are killed, migrated, overloaded

EMPTY = "jobledger-server: the database is empty of Jobledger's tables: run `jobledger-server migrate` first"
EARLIER = "jobledger-server: the database has the schema of an earlier version: run `jobledger-server migrate` first"
LATER = "jobledger-server: the database's schema, 9999, is of a later version: upgrade this server"


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[str]:
    """Return a database without any schema."""
    beside = new_database("postgresql", tmp_path)
    name = f"jobledger_{uuid4().hex}"
    with psycopg.connect(address(beside, "postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield beside.replace(beside.partition("@/")[2].partition("?")[0], name)


def migrate(database: str, *flags: str) -> tuple[int, str, str]:
    """Run `migrate` and return its status and what it prints."""
    command = [COMMAND, "migrate", "--database", database, *flags]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=BOUND, check=False)
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stdout.strip(), ended.stderr.strip()


def serve(database: str, directory: Path) -> str:
    """Return the sentence with which a server refuses a database."""
    return refused_to_start(directory, "--database", database, "--listen", "127.0.0.1:0", status=78).strip()


def test_a_database_is_refused_until_it_is_migrated(empty: str, tmp_path: Path):
    assert serve(empty, tmp_path) == EMPTY
    assert migrate(empty, "--check") == (1, "", EMPTY)
    assert migrate(empty) == (0, "the schema was upgraded to this version", "")
    assert migrate(empty, "--check") == (0, "the schema is up to date", "")
    assert migrate(empty) == (0, "the schema is up to date", "")
    assert Server(empty, tmp_path, SETTINGS).start().stop() == 0


def test_a_schema_of_an_earlier_version_is_named_as_such(empty: str, tmp_path: Path):
    migrate(empty)
    with connect_to_database(empty) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    assert serve(empty, tmp_path) == EARLIER
    assert migrate(empty, "--check") == (1, "", EARLIER)


def test_a_schema_of_a_later_version_is_refused_and_left_alone(empty: str, tmp_path: Path):
    migrate(empty)
    with connect_to_database(empty) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert serve(empty, tmp_path) == LATER
    assert migrate(empty) == migrate(empty, "--check") == (1, "", LATER)
    with connect_to_database(empty) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]


def test_several_migrations_at_once_all_succeed_and_make_one_ledger(empty: str):
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(migrate, [empty] * 3))
    assert [status for status, _, _ in answers] == [0, 0, 0]
    assert sorted(result for _, result, _ in answers) == [
        *["the schema is up to date"] * 2,
        "the schema was upgraded to this version",
    ]
    with connect_to_database(empty) as connection:
        assert connection.execute("SELECT count(*) FROM ledger").fetchone() == (1,)


@pytest.mark.guarantee("3d.12")
def test_a_migration_breaks_off_no_transaction_that_uses_the_tables(empty: str):
    assert migrate(empty)[0] == 0
    with connect_to_database(empty) as connection, ThreadPoolExecutor(1) as threads:
        connection.execute("UPDATE alembic_version SET version_num = '0006'")
        connection.execute("ALTER TABLE limits DROP COLUMN ceiling")
        connection.execute("DROP INDEX api_keys_by_owner")
        with connection.transaction():
            connection.execute("UPDATE api_keys SET key_id = key_id")
            running = threads.submit(migrate, empty)
            blocked(empty)
            assert connection.execute("SELECT count(*) FROM limits").fetchone() == (0,), "another of its tables"
            assert not running.done()
        assert running.result(timeout=BOUND)[0] == 0
    assert migrate(empty, "--check")[0] == 0


def test_a_database_that_is_not_there_is_reported_in_a_sentence(empty: str, tmp_path: Path):
    gone = empty.replace("@/jobledger_", "@/no_such_")
    status, _, result = migrate(gone)
    assert status == 69
    assert result.splitlines()[-1].startswith("jobledger-server: ")
