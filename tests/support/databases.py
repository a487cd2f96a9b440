"""A fresh database in each store that the tests run on."""

from pathlib import Path
from uuid import uuid4

STORES = ["sqlite"]


def new_database(store: str, directory: Path) -> str:
    """Return the URL of a database that does not exist yet."""
    if store != "sqlite":
        raise ValueError(f"no such store: {store!r}; there are {STORES}")
    return f"sqlite:///{directory / uuid4().hex}.db"
