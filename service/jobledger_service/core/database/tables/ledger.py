"""The ledger: its events, and what is remembered of those that went; and requests that took effect."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from .schema import Bits, Json, Key, metadata, partial_index

events = Table(
    "events",
    metadata,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("job_key", Key, nullable=False),
    Column("commit_time", BigInteger, nullable=False),
    Column("changes", BigInteger, nullable=False),
    Column("message", LargeBinary, nullable=False),
    Column("before", Json(none_as_null=True)),
    Column("previous", LargeBinary),
    Column("artifacts", Text),
    Column("artifacts_bytes", Integer, nullable=False),
)
Index("events_by_job", events.c.job_key, events.c.position)

artifact_versions = Table(
    "artifact_versions",
    metadata,
    Column("job_key", Key, primary_key=True),
    Column("uid", LargeBinary, primary_key=True),
    Column("chunk_index", Integer, primary_key=True),
    Column("revision", BigInteger, primary_key=True),
    Column("content", Text, nullable=False),
    Column("encoded", LargeBinary, nullable=False),
)
"""The artifacts of a job, or of one of its chunks, from a revision of the job on: as JSON and as events show them."""

deleted_versions = Table(
    "deleted_versions",
    metadata,
    Column("uid", LargeBinary, primary_key=True),
    Column("job_key", Key, nullable=False),
    sqlite_with_rowid=False,
)
"""Deleted jobs whose events were trimmed, and whose artifact versions are still stored."""


class OwnerOf(FunctionElement[str]):
    """The owner in a job's key: what stands before the slash."""

    type = Text()
    inherit_cache = True


@compiles(OwnerOf, "sqlite")
def _in_sqlite(element: OwnerOf, compiler: Any, **options: Any) -> str:  # noqa: ANN401  SQLAlchemy's
    key = compiler.process(element.clauses, **options)
    return f"substr({key}, 1, instr({key}, '/') - 1)"


@compiles(OwnerOf, "postgresql")
def _in_postgres(element: OwnerOf, compiler: Any, **options: Any) -> str:  # noqa: ANN401  SQLAlchemy's
    return f"split_part({compiler.process(element.clauses, **options)}, '/', 1)"


event_owner = OwnerOf(events.c.job_key)
Index("events_by_owner", event_owner, events.c.position, events.c.changes)

tombstones = Table(
    "tombstones",
    metadata,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("owner", Text, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("job_key", Key, nullable=False),
    Column("uid", LargeBinary, nullable=False),
    Column("delete_time", BigInteger, nullable=False),
)
Index("tombstones_by_job", tombstones.c.job_key, tombstones.c.position, tombstones.c.uid)
Index(
    "tombstones_by_create_time",
    tombstones.c.owner,
    tombstones.c.create_time,
    tombstones.c.job_key,
    tombstones.c.position,
)

audit = Table(
    "audit",
    metadata,
    Column("job_key", Key, primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("commit_time", BigInteger, nullable=False),
    Column("changes", BigInteger, nullable=False),
    Column("message", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
audit_owner = OwnerOf(audit.c.job_key)
Index("audit_by_owner", audit_owner, audit.c.position, audit.c.changes)
Index("audit_by_position", audit.c.position, audit.c.commit_time, audit.c.changes)

event_terms = Table(
    "event_terms",
    metadata,
    Column("term", Key, primary_key=True),
    Column("block", BigInteger, primary_key=True, autoincrement=False),
    Column("bits", Bits, nullable=False),
    sqlite_with_rowid=False,
)
"""The positions of the events with a term, as bits of blocks of positions: see `event_terms` of the store."""

ledger = Table(
    "ledger",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("epoch", Text, nullable=False),
    Column("token_secret", LargeBinary, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("trimmed", BigInteger, nullable=False),
    Column("commit_time", BigInteger, nullable=False),
    Column("writer_level", Integer, nullable=False),
    # The present term, and the last start of the database that has begun one.
    Column("term", BigInteger, nullable=False, server_default="0"),
    Column("start", Text, nullable=False, server_default=""),
    # The numbers of the label indexes that every commit writes, by name, as JSON.
    Column("label_indexes", Text, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
    CheckConstraint("trimmed BETWEEN 0 AND position", name="trimmed_in_range"),
)

terms = Table(
    "terms",
    metadata,
    Column("first_position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("term", BigInteger, nullable=False),
)
"""The terms of the ledger; those of which no event is left are gone."""

requests = Table(
    "requests",
    metadata,
    Column("request_key", Key, primary_key=True),
    Column("job_key", Key, ForeignKey("jobs.job_key", ondelete="CASCADE")),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("leases", LargeBinary, nullable=False),
    Column("expire_time", BigInteger, nullable=False),
)
"""A request for a job has the job, a claim its leases."""
_of_jobs = requests.c.job_key.is_not(None)
partial_index("requests_by_job", requests.c.job_key, where=_of_jobs)
Index("requests_by_time", requests.c.expire_time)
