"""Creates and upgrades the schema, and says whether it fits this version."""

from pathlib import Path
from uuid import uuid4

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, select

from .engines import Database
from .tables import ledger


class SchemaError(Exception):
    """The schema of the database is not the one that this version works on."""


def upgrade(database: Database) -> bool:
    """Bring the schema to this version, in one transaction; return whether there was anything to do.

    Of several that try at once on PostgreSQL, one does it, and the others wait for it. Raises SchemaError for a schema
    of a later version.
    """
    with database.write() as connection:
        database.dialect.alone(connection, "migrate")
        config = _config(connection)
        if _is_current(connection, config):
            return False
        command.upgrade(config, "head")
        if connection.execute(select(ledger.c.one)).first() is None:
            connection.execute(insert(ledger).values(one=1, ledger_id=str(uuid4()), position=0, trimmed=0))
        return True


def check(database: Database) -> None:
    """Raise SchemaError unless the schema is that of this version."""
    with database.write() as connection:
        if not _is_current(connection, _config(connection)):
            raise SchemaError("the database's schema is not of this version yet: run `jobledger-server migrate` first")


def _is_current(connection: Connection, config: Config) -> bool:
    script = ScriptDirectory.from_config(config)
    found = MigrationContext.configure(connection).get_current_revision()
    if found is not None and found not in {step.revision for step in script.walk_revisions()}:
        raise SchemaError(f"the database's schema, {found}, is of a later version: upgrade this server")
    return found == script.get_current_head()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config
