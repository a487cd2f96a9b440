"""Removals that have begun."""

from sqlalchemy import Column, Index, LargeBinary, Table

from jobledger_service.core.database.tables.schema import Key, metadata

artifact_removals = Table(
    "artifact_removals",
    metadata,
    Column("uid", LargeBinary, primary_key=True),
    Column("removal_key", Key, nullable=False),
    sqlite_with_rowid=False,
)
"""Deleted jobs whose artifact versions a job of the service's own still needs, to delete what they point at."""
Index("artifact_removals_by_removal", artifact_removals.c.removal_key)
