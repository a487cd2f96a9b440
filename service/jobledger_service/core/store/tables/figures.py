"""What is counted as jobs change: by state, by hour, and against limits."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Table, Text, and_, literal_column, or_

from jobledger_service.core.model.holds import HoldReason

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
    *(Column(f"chunks_{reason.name.lower()}", BigInteger, nullable=False) for reason in HoldReason),
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
Index("running_totals_by_hour", running_totals.c.hour)

chunk_counts = tuple(column for column in counts.c if column.name.startswith("chunks_"))
"""The columns of counts with chunks: pending, processing, and pending by hold."""

limits = Table(
    "limits",
    metadata,
    Column("limit_key", Key, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("max_running", Integer),
    Column("running", BigInteger, nullable=False),
    Column("waiting", BigInteger, nullable=False),
    Column("by_job", Boolean, nullable=False),
    Column("set_time", BigInteger, nullable=False),
)

# As for jobs: a query has to say the same, with the same literals.
slots_free = and_(
    limits.c.waiting > literal_column("0"),
    or_(limits.c.max_running.is_(None), limits.c.running < limits.c.max_running),
)
"""A slot for which jobs wait."""
limits_removable = or_(limits.c.by_job, limits.c.max_running.is_(None))
"""What no operator set, or set aside: it goes when nothing uses it."""
Index("limits_free", limits.c.limit_key, sqlite_where=slots_free, postgresql_where=slots_free)
Index("limits_removable", limits.c.set_time, sqlite_where=limits_removable, postgresql_where=limits_removable)
