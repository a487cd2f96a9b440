"""The schema of a database, as the database itself describes it: what two databases must have in common."""

import re
from collections.abc import Iterator

from jobledger_service import app  # noqa: F401  it imports every feature, and so each table
from jobledger_service.core.database.tables import metadata
from jobledger_service.core.database.tables.schema import POSTGRES
from sqlalchemy import Connection
from sqlalchemy.schema import CreateTable

Schema = dict[str, list[str]]
"""The definitions of each table and index, by its name, in an order of their own."""

MADE_BY_MIGRATIONS_ALONE = (
    "alembic_version",
    "job_search",
    "job_words_added",
    "job_words_changed",
    "job_words_removed",
)
"""Alembic's table, and the full text of SQLite with the triggers that keep it."""

_OF_POSTGRES = """
SELECT relname, format('%s %s %s default %s generated %s identity %s', attname, format_type(atttypid, atttypmod),
       CASE WHEN attnotnull THEN 'not null' ELSE 'null' END, pg_get_expr(adbin, adrelid), attgenerated, attidentity)
       || ' collation ' || attcollation::regcollation
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
UNION ALL SELECT relname, conname || ' ' || pg_get_constraintdef(pg_constraint.oid)
FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT relname, pg_get_indexdef(oid) || coalesce(' ' || reloptions::text, '')
FROM pg_class WHERE relkind = 'i' AND relnamespace = 'public'::regnamespace
"""


def create_described(connection: Connection) -> None:
    """Create the tables and indexes that the core and its features describe, in an empty database."""
    for table in metadata.sorted_tables:
        connection.execute(CreateTable(table))
        for index in table.indexes:
            # Not where they are declared: SQLAlchemy imports its dialect of PostgreSQL to check them.
            index.dialect_kwargs.update(
                {f"{POSTGRES}_{name}": value for name, value in index.info.get(POSTGRES, {}).items()}
            )
            index.create(connection)


def schema(connection: Connection) -> Schema:
    """Return the tables and indexes of a database, but those that only migrations make."""
    read = _of_sqlite if connection.dialect.name == "sqlite" else _of_postgres
    definitions: Schema = {}
    for name, definition in read(connection):
        if not name.startswith(MADE_BY_MIGRATIONS_ALONE):
            definitions.setdefault(name, []).append(definition)
    return {name: sorted(listed) for name, listed in sorted(definitions.items())}


def _of_postgres(connection: Connection) -> Iterator[tuple[str, str]]:
    result = connection.exec_driver_sql(_OF_POSTGRES, execution_options={"no_parameters": True})
    for name, definition in result:
        yield name, re.sub("[()]", "", definition)  # a dump that is read in again nests conditions differently


def _of_sqlite(connection: Connection) -> Iterator[tuple[str, str]]:
    """Yield the parts of the statements that SQLite keeps; a column that was added stands behind the constraints."""
    for name, statement in connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"):
        plain = re.sub(r"\s+", " ", statement)
        if plain.startswith("CREATE TABLE"):
            head, _, rest = plain.partition("(")
            body, _, options = rest.rpartition(")")
            yield name, f"{head.strip()} () {options.strip()}"
            for part in _parts(body):
                yield name, part
        else:
            yield name, plain


def _parts(body: str) -> Iterator[str]:
    """Yield what commas outside of parentheses separate."""
    depth, start = 0, 0
    for place, character in enumerate(body):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            yield body[start:place].strip()
            start = place + 1
    yield body[start:].strip()
