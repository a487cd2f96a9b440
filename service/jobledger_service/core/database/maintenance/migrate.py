"""Creates and upgrades the schema, and checks whether it matches this version."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import Connection, insert, inspect, select

from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.tables import ledger, schema_version
from jobledger_service.core.database.writer_level import read_writer_level
from jobledger_service.core.model.history.writer_level import WRITER_LEVEL, may_write

from .epochs import epoch_values

log = structlog.get_logger(__name__)

ATTEMPT_SECONDS: Final = 0.5
"""How long the tables are awaited at a time: less than the second after which PostgreSQL looks for deadlocks."""
PAUSE_SECONDS: Final = 0.1
MAX_ATTEMPTS: Final = 1_000
"""Within ten minutes."""
ATTEMPTS_PER_LINE: Final = 20
MIGRATIONS: Final = Path(__file__).parents[1] / "migrations"
VERSIONS: Final = MIGRATIONS / "versions"
"""The migrations of this version of the server, one file each, in the order of their names."""


class SchemaError(Exception):
    """The schema of the database does not match this version."""


def upgrade(database: Database, versions: Sequence[Path] = (VERSIONS,)) -> bool:
    """Bring the schema to the newest of these versions, in one transaction; return whether there was anything to do.

    `versions` are directories of migrations. Of several processes that try at once on PostgreSQL, one does it, and the
    others wait for it. Raises SchemaError for a schema of a later version.
    """
    with database.change_schema() as connection:
        database.dialect.lock(connection, "migrate")
        if _is_current(connection, versions):
            return False
        _lock_tables(database, connection)
        _migrate(connection, versions)
        if connection.execute(select(ledger.c.id)).first() is None:
            values = {"id": 1, "position": 0, "trimmed": 0, "commit_time": 0, "label_indexes": "{}", **epoch_values()}
            connection.execute(insert(ledger).values(writer_level=WRITER_LEVEL, **values))
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
        if not _is_current(connection, [VERSIONS]):
            is_empty = not inspect(connection).has_table(schema_version.name)
            state = "is empty of Jobledger's tables" if is_empty else "has the schema of an earlier version"
            raise SchemaError(f"the database {state}: run `jobledger-server migrate` first")
    return False


def _is_current(connection: Connection, versions: Sequence[Path]) -> bool:
    """Return whether the schema is up to date, without Alembic: usually another start has upgraded it."""
    revisions = sorted(file.stem.partition("_")[0] for directory in versions for file in directory.glob("[0-9]*.py"))
    version = None
    if inspect(connection).has_table(schema_version.name):
        version = connection.execute(select(schema_version.c.version_num)).scalar_one_or_none()
    if version is not None and version not in revisions:
        raise SchemaError(f"the database's schema, {version}, is of a later version: upgrade this server")
    if version != revisions[-1]:
        return False
    lowest = read_writer_level(connection)
    if not may_write(lowest):
        raise SchemaError(
            f"the database accepts writes from servers of writer level {lowest} or above; this one has {WRITER_LEVEL}:"
            " upgrade this server"
        )
    return True


def _lock_tables(database: Database, connection: Connection) -> None:
    """Lock all tables for a migration, which steps back while others use them; raises SchemaError in the end.

    A migration that waited with some of them locked would be in a deadlock with a transaction that has others.
    """
    names = sorted(inspect(connection).get_table_names())
    for attempt in range(MAX_ATTEMPTS):
        if not names or database.dialect.lock_tables(connection, names, ATTEMPT_SECONDS):
            return
        if attempt % ATTEMPTS_PER_LINE == 0:
            log.info("the migration waits until nobody reads or writes for a moment")
        time.sleep(PAUSE_SECONDS)  # in which the others go on
    raise SchemaError("the tables are in use all the time: end long reads, such as exports, and run it again")


def _migrate(connection: Connection, versions: Sequence[Path]) -> None:
    """Run the migrations that the schema lacks."""
    from alembic import command  # noqa: PLC0415  it takes a tenth of a server's start
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", os.pathsep.join(map(str, versions)))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
