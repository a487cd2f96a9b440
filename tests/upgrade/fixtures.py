"""Databases of released versions, as files: `python -m tests.upgrade.fixtures` makes those of this version.

A version has `VERSION.sqlite.db.xz`, `VERSION.postgresql.sql.xz`, and beside each what was answered meanwhile.
"""

import asyncio
import lzma
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from jobledger_service import VERSION
from sqlalchemy import make_url

from tests.conftest import QUICK
from tests.support.databases import STORES, empty_postgres, new_database
from tests.support.keys import first_key
from tests.support.postgres import address, run_program
from tests.support.server import Server
from tests.upgrade.filling import SETTINGS, Record, fill

FIXTURES: Final = Path(__file__).parent / "databases"
VERSIONS: Final = sorted(file.name.removesuffix(".sqlite.db.xz") for file in FIXTURES.glob("*.sqlite.db.xz"))
SUFFIXES: Final = {"sqlite": "sqlite.db.xz", "postgresql": "postgresql.sql.xz"}
NO_NOISE: Final = ("--no-owner", "--no-privileges", "--inserts", "--rows-per-insert=100")


def record(version: str, store: str) -> Record:
    """Return what was answered while a fixture was filled."""
    return msgspec.json.decode(lzma.decompress((FIXTURES / f"{version}.{store}.json.xz").read_bytes()), type=Record)


def load(version: str, store: str, directory: Path) -> str:
    """Return the URL of a new database with a fixture's content."""
    content = lzma.decompress((FIXTURES / f"{version}.{SUFFIXES[store]}").read_bytes())
    if store == "sqlite":
        file = directory / f"{version}.db"
        file.write_bytes(content)
        return f"sqlite:///{file}"
    database = empty_postgres()
    with tempfile.NamedTemporaryFile(suffix=".sql") as script:
        script.write(content)
        script.flush()
        quiet = ("--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--output=/dev/null")
        run_program("psql", *quiet, f"--file={script.name}", f"--dbname={address(database)}")
    return database


def make(store: str) -> None:
    """Fill a database of this version, and write its files."""
    with tempfile.TemporaryDirectory() as directory, _serving(store, Path(directory)) as (server, token):
        filled = asyncio.run(fill(server.target, token, VERSION, _commit()))
        assert server.stop() == 0
        _write(f"{VERSION}.{SUFFIXES[store]}", _content(server.database, Path(directory)))
        _write(f"{VERSION}.{store}.json.xz", msgspec.json.encode(filled))


def _commit() -> str:
    """Return the commit that last changed the server or what it is made of."""
    newest = ["git", "log", "-1", "--format=%H", "--", "protos", "client", "service"]
    return subprocess.run(newest, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def _serving(store: str, directory: Path) -> Iterator[tuple[Server, str]]:
    database = new_database(store, directory)
    token = first_key(database)
    server = Server(database, directory, QUICK | SETTINGS).start()
    try:
        yield server, token
    finally:
        server.kill()


def _content(database: str, directory: Path) -> bytes:
    """Return a database as bytes: the file of SQLite, or the statements that make it on PostgreSQL."""
    if database.startswith("sqlite"):
        file = Path(make_url(database).database or "")
        assert not file.with_name(f"{file.name}-wal").exists(), "the server left its log behind"
        return file.read_bytes()
    dumped = directory / "dump.sql"
    run_program("pg_dump", *NO_NOISE, f"--file={dumped}", address(database))
    return dumped.read_bytes()


def _write(name: str, content: bytes) -> None:
    compressed = lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)
    (FIXTURES / name).write_bytes(compressed)
    print(f"{name}: {len(content):,} bytes, compressed {len(compressed):,}")


if __name__ == "__main__":
    FIXTURES.mkdir(exist_ok=True)
    for each in STORES:
        make(each)
