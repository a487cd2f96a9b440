"""Creates and upgrades the schema, and checks whether it matches this version."""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, insert, inspect, select

from jobledger_service.core.model.writer_level import WRITER_LEVEL, may_write

from .engines import Database
from .epochs import epoch_values
from .tables import ledger, schema_version
from .writer_level import read_writer_level

MIGRATIONS: Final = Path(__file__).parent / "migrations"
REVISIONS: Final = sorted(step.stem.partition("_")[0] for step in MIGRATIONS.glob("versions/[0-9]*.py"))
"""Alembic's names of the versions of the schema, the newest last."""


class SchemaError(Exception):
    """The schema of the database does not match this version."""


def upgrade(database: Database) -> bool:
    """Upgrade the schema to this version, in one transaction; return whether it changed.

    Of several processes on PostgreSQL one does it, and the others wait for it. Raises SchemaError for a schema of a
    later version.
    """
    with database.change_schema() as connection:
        database.dialect.lock(connection, "migrate")
        if _is_current(connection):
            return False
        migrate(connection, "head")
        if connection.execute(select(ledger.c.one)).first() is None:
            values = {"position": 0, "trimmed": 0, "commit_time": 0, "writer_level": WRITER_LEVEL, **epoch_values()}
            connection.execute(insert(ledger).values(one=1, **values))
        return True


def prepare(database: Database) -> None:
    """Upgrade an SQLite file to this version; a PostgreSQL schema, which others use too, must already match."""
    if database.single_writer:
        upgrade(database)
    else:
        check(database)


def check(database: Database) -> bool:
    """Return False, as nothing is to be done; raises SchemaError unless the schema matches this version."""
    with database.change_schema() as connection:
        if not _is_current(connection):
            raise SchemaError("the database's schema is not of this version yet: run `jobledger-server migrate` first")
    return False


def _is_current(connection: Connection) -> bool:
    """Return whether the schema is up to date, without Alembic: usually another start has upgraded it."""
    found = None
    if inspect(connection).has_table(schema_version.name):
        found = connection.execute(select(schema_version.c.version_num)).scalar_one_or_none()
    if found is not None and found not in REVISIONS:
        raise SchemaError(f"the database's schema, {found}, is of a later version: upgrade this server")
    if found != REVISIONS[-1]:
        return False
    lowest = read_writer_level(connection)
    if not may_write(lowest):
        raise SchemaError(
            f"the database accepts writes from servers of writer level {lowest} or above; this one has {WRITER_LEVEL}:"
            " upgrade this server"
        )
    return True


def migrate(connection: Connection, revision: str) -> None:
    """Run the migrations up to a revision."""
    from alembic import command  # noqa: PLC0415  it takes a tenth of a server's start
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
