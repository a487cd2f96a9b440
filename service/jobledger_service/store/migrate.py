"""Creates and upgrades the schema."""

from pathlib import Path
from uuid import uuid4

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, insert, select

from .engines import Database
from .tables import ledger


def upgrade(database: Database) -> None:
    """Bring the schema to this version, in one transaction, and give a new ledger its name."""
    with database.write() as connection:
        command.upgrade(_config(connection), "head")
        if connection.execute(select(ledger.c.one)).first() is None:
            connection.execute(insert(ledger).values(one=1, ledger_id=str(uuid4()), position=0, trimmed=0))


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config
