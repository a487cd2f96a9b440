"""How many jobs, chunks and bytes of artifacts there are, by owner, kind and state; commits write it as jobs change."""

from sqlalchemy import BigInteger, Column, Computed, SmallInteger, Table, Text, literal_column

from jobledger_service.core.model.holds import HoldReason
from jobledger_service.core.model.service_kinds import ALL_KINDS, ALL_OWNERS

from .schema import metadata, partial_index

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
    Column("artifact_bytes", BigInteger, nullable=False, server_default="0"),
    # How many digits the number of jobs has, of the counts over all owners; 0 for no jobs. It changes rarely.
    Column("size", SmallInteger, Computed(_DIGITS, persisted=True)),
    sqlite_with_rowid=False,
)
counts_of_all = counts.c.kind == literal_column(f"'{ALL_KINDS}'")
"""The counts of all kinds together: their number does not grow with the kinds."""
sized = counts.c.size > literal_column("0")
"""The counts of a kind of all owners together that has jobs."""
partial_index("counts_by_size", counts.c.state, counts.c.size.desc(), counts.c.kind, where=sized)

chunk_counts = tuple(column for column in counts.c if column.name.startswith("chunks_"))
"""The columns of counts with chunks: pending, processing, and pending by hold."""
