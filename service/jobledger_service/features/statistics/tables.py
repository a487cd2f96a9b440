"""What happened to jobs: by the hour, in total, and why runs failed."""

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text

from jobledger_service.core.database.tables.schema import Key, metadata

rollups = Table(
    "rollups",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, primary_key=True),
    Column("measure", Text, primary_key=True),
    Column("bucket", Integer, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

running_totals = Table(
    "running_totals",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("activity", Text, nullable=False),
)
Index("running_totals_by_hour", running_totals.c.hour)

failures = Table(
    "failures",
    metadata,
    Column("kind_key", Key, primary_key=True),
    # How many hours the row counts, an hour or a day, and the first of them, since 1970.
    Column("hours", Integer, primary_key=True, autoincrement=False),
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("error_code", Key, primary_key=True),
    Column("stage", Key, primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("newest", Key, nullable=False),
    sqlite_with_rowid=False,
)
"""Runs that failed, by the reason: of a kind, as `OWNER/KIND`, and as `OWNER/` of all kinds of callers."""
Index("failures_by_hour", failures.c.hour)
