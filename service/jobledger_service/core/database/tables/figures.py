"""What is counted as jobs change: by state, by hour, and against limits."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    and_,
    literal_column,
    or_,
)

from jobledger_service.core.model.holds import HoldReason
from jobledger_service.core.model.service_kinds import ALL_KINDS, ALL_OWNERS

from .schema import Key, metadata, partial_index

_DIGITS = (
    f"CASE WHEN owner = '{ALL_OWNERS}' AND kind <> '{ALL_KINDS}' AND jobs > 0"
    " THEN length(CAST(jobs AS TEXT)) ELSE 0 END"
)
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
    # How many digits the number of jobs has, of the counts over all owners; 0 for no jobs. It changes rarely.
    Column("size", SmallInteger, Computed(_DIGITS, persisted=True)),
    sqlite_with_rowid=False,
)
counts_of_all = counts.c.kind == literal_column(f"'{ALL_KINDS}'")
"""The counts of all kinds together: their number does not grow with the kinds."""
sized = counts.c.size > literal_column("0")
"""The counts of a kind of all owners together that has jobs."""
partial_index("counts_by_size", counts.c.state, counts.c.size.desc(), counts.c.kind, where=sized)

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
    # Whether the number is the row's own; else it is a copy of that of the limit for each value of the label.
    Column("is_set", Boolean, nullable=False),
    # The last row that got the number of a limit for each value; empty before the first, NULL after the last.
    Column("values_through", Key),
    # Why, by whom and when the number was set last; empty for a number that is not the row's own.
    Column("reason", Text, nullable=False, server_default=""),
    Column("set_by", Text, nullable=False, server_default=""),
    Column("update_time", BigInteger),
)

# As for jobs: a query has to say the same, with the same literals.
slots_free = and_(
    limits.c.waiting > literal_column("0"),
    or_(limits.c.max_running.is_(None), limits.c.running < limits.c.max_running),
)
"""A slot for which jobs wait."""
limits_paused = limits.c.max_running == literal_column("0")
"""What lets no job begin."""
limits_spreading = limits.c.values_through.is_not(None)
"""A limit for each value of a label whose values have yet to get its number."""
limits_unused = and_(
    ~limits.c.is_set,
    limits.c.running == literal_column("0"),
    limits.c.waiting == literal_column("0"),
    limits.c.values_through.is_(None),
)
"""What has no number of its own and counts no job: it goes."""
partial_index("limits_free", limits.c.limit_key, where=slots_free)
partial_index("limits_paused", limits.c.limit_key, where=limits_paused)
partial_index("limits_spreading", limits.c.limit_key, where=limits_spreading)
partial_index("limits_unused", limits.c.limit_key, where=limits_unused)
