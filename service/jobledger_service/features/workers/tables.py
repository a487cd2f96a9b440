"""The table of workers."""

from sqlalchemy import BigInteger, Column, Index, Table, Text, literal_column

from jobledger_service.core.database.tables.schema import Key, metadata, partial_index

workers = Table(
    "workers",
    metadata,
    Column("owner", Key, primary_key=True),
    Column("worker", Key, primary_key=True),
    Column("kinds", Text, nullable=False),
    Column("served", Text, nullable=False),
    Column("first_seen_time", BigInteger, nullable=False),
    Column("last_seen_time", BigInteger, nullable=False),
    Column("version", Text, nullable=False),
    Column("host", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""By the owner of the key. `served` has the owners for whom a worker claims, each between spaces; empty for its own."""
of_fleets = workers.c.served != literal_column("''")
partial_index("workers_of_fleets", workers.c.owner, workers.c.worker, where=of_fleets)
Index("workers_by_time", workers.c.last_seen_time)
