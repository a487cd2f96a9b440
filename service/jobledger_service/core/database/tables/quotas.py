"""The quotas of owners, which every batch with new jobs reads together with the counts."""

from sqlalchemy import BigInteger, Column, Table, Text

from .schema import Key, metadata

quotas = Table(
    "quotas",
    metadata,
    Column("owner", Key, primary_key=True),
    Column("max_unfinished_jobs", BigInteger),
    Column("max_stored_jobs", BigInteger),
    Column("max_watches", BigInteger),
    Column("max_artifact_bytes", BigInteger),
    Column("reason", Text, nullable=False),
    Column("set_by", Text, nullable=False),
    Column("set_time", BigInteger, nullable=False),
)
"""The bounds of owners that admins set; NULL for the server's default. What is counted against them is in `counts`."""
