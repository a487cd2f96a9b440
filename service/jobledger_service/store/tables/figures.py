"""What is counted as jobs change: by state, by hour, and against limits."""

from sqlalchemy import BigInteger, Boolean, Column, Integer, Table, Text

from .schema import Key, metadata

counts = Table(
    "counts",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("state", Text, primary_key=True),
    Column("jobs", BigInteger, nullable=False),
    Column("chunks_pending", BigInteger, nullable=False),
    Column("chunks_processing", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

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

limits = Table(
    "limits",
    metadata,
    Column("limit_key", Key, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("most", Integer),
    Column("running", BigInteger, nullable=False),
    Column("waiting", BigInteger, nullable=False),
    Column("by_job", Boolean, nullable=False),
    Column("set_time", BigInteger, nullable=False),
)
