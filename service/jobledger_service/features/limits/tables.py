"""Limits, with the jobs that hold their slots or wait for one."""

from sqlalchemy import BigInteger, Boolean, Column, Integer, Table, Text, and_, literal_column, or_

from jobledger_service.core.database.tables.schema import Key, metadata, partial_index

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
    # The number that an operator set last; NULL where only the owner's admin set one.
    Column("ceiling", Integer),
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
