"""The reading half: every method is one snapshot."""

import shutil
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, bindparam, column, func, select, table

from jobledger_service.domain.chunk import Chunk
from jobledger_service.domain.health import StoreVitals
from jobledger_service.domain.limits import CHUNKS_IN_VIEW
from jobledger_service.domain.states import ENDED, ChunkState, JobState
from jobledger_service.ledger.ports import (
    ChunkKey,
    ChunksRead,
    EventRow,
    EventsRead,
    Inputs,
    JobRead,
    JobsRead,
    Listed,
    Listing,
)

from .engines import Database
from .listing import count, page, page_key
from .rows import CHUNK_COLUMNS, JOB_COLUMNS, chunk_of, job_of
from .tables import cancelling, chunks, delayed, events, expiring, jobs, leased, ledger

_POSITION = select(ledger.c.position)
_SCHEMA_VERSION: Select[Any] = select(column("version_num")).select_from(table("alembic_version"))
_ENDS = select(ledger.c.position, ledger.c.trimmed)
MOST_BYTES = 4 * 1024 * 1024
"""A read of events ends with the one that makes it this large, so that large events are not many at once."""


def _events(*conditions: ColumnElement[bool]) -> Select[Any]:
    size = func.length(events.c.message)
    read = (
        select(events, (func.sum(size).over(order_by=events.c.position) - size).label("bytes_before"))
        .where(events.c.position > bindparam("after"), *conditions)
        .order_by(events.c.position)
        .limit(bindparam("most"))
        .subquery()
    )
    return (
        select(read.c.position, read.c.job_key, read.c.message, read.c.before)
        .where(read.c.bytes_before < MOST_BYTES)
        .order_by(read.c.position)
    )


_EVENTS = _events()
_EVENTS_OF_JOB = _events(events.c.job_key == bindparam("key"))


class SqlReadStore:
    """The reading half of the store."""

    def __init__(self, database: Database) -> None:
        self._database = database
        keys = database.dialect.keys()
        self._jobs = select(*JOB_COLUMNS).where(jobs.c.job_key.in_(keys))
        self._inputs = select(jobs.c.job_key, jobs.c.input).where(jobs.c.job_key.in_(keys), jobs.c.input.is_not(None))
        self._chunks = (
            select(*CHUNK_COLUMNS, chunks.c.input)
            .where(chunks.c.job_key.in_(keys), chunks.c.chunk_index < CHUNKS_IN_VIEW)
            .order_by(chunks.c.job_key, chunks.c.chunk_index)
        )
        with database.read() as connection:
            self._ledger = UUID(connection.execute(select(ledger.c.ledger_id)).scalar_one())

    @property
    def ledger(self) -> UUID:
        """The name of this ledger."""
        return self._ledger

    def position(self) -> int:
        """Return the position of the newest event."""
        with self._database.read() as connection:
            return _position(connection)

    def read_jobs(self, keys: Iterable[str], *, full: bool) -> JobsRead:
        """Return the jobs that exist."""
        with self._database.read() as connection:
            position = _position(connection)
            wanted = {"keys": self._database.dialect.key_values(keys)}
            found = [job_of(row) for row in connection.execute(self._jobs, wanted)]
            read = self._full(connection, wanted) if full else {}
            return JobsRead(position, {job.key: JobRead(job, *read.get(job.key, ())) for job in found})

    def _full(self, connection: Connection, wanted: dict[str, object]) -> dict[str, tuple[Inputs, list[Chunk]]]:
        """Return the inputs and the first chunks of jobs, by key."""
        job_inputs: dict[str, bytes] = dict(connection.execute(self._inputs, wanted).tuples().all())
        of_chunks: dict[str, dict[int, bytes]] = {}
        listed: dict[str, list[Chunk]] = {}
        for *row, raw in connection.execute(self._chunks, wanted):
            chunk = chunk_of(row)
            listed.setdefault(chunk.job_key, []).append(chunk)
            if raw is not None:
                of_chunks.setdefault(chunk.job_key, {})[chunk.index] = raw
        return {key: (Inputs(job_inputs.get(key), of_chunks.get(key, {})), ones) for key, ones in listed.items()}

    def list_jobs(self, listing: Listing) -> Listed:
        """Return a page of jobs."""
        dialect = self._database.dialect
        with self._database.read() as connection:
            position = _position(connection)
            found = [job_of(row) for row in connection.execute(page(listing, dialect))]
            more = len(found) > listing.limit
            shown = found[: listing.limit]
            read: dict[str, tuple[Inputs, list[Chunk]]] = {}
            if listing.full and shown:
                read = self._full(connection, {"keys": dialect.key_values(job.key for job in shown)})
            counted: int = connection.execute(count(listing, dialect)).scalar_one() if listing.count_to else 0
            return Listed(
                position=position,
                jobs=[JobRead(job, *read.get(job.key, ())) for job in shown],
                next=page_key(shown[-1], listing.order) if more else None,
                count=counted,
            )

    def queued_jobs(self, owners: Iterable[str], most: int) -> dict[str, int]:
        """Return how many jobs of each owner are QUEUED, counted no farther than `most`."""
        one = jobs.c.owner == bindparam("of"), jobs.c.state == JobState.QUEUED
        some = select(jobs.c.job_key).where(*one).limit(most).subquery()
        with self._database.read() as connection:
            return {
                owner: connection.execute(select(func.count()).select_from(some), {"of": owner}).scalar_one()
                for owner in owners
            }

    def list_chunks(self, job_key: str, states: frozenset[ChunkState], after: int, limit: int) -> ChunksRead | None:
        """Return a job's chunks with an index above `after`."""
        wanted = select(*CHUNK_COLUMNS, chunks.c.input).where(chunks.c.job_key == job_key, chunks.c.chunk_index > after)
        if states:
            wanted = wanted.where(chunks.c.state.in_(sorted(states)))
        with self._database.read() as connection:
            if connection.execute(select(jobs.c.job_key).where(jobs.c.job_key == job_key)).first() is None:
                return None
            rows = connection.execute(wanted.order_by(chunks.c.chunk_index).limit(limit)).all()
        found = [(chunk_of(row[:-1]), row[-1]) for row in rows]
        inputs = {chunk.index: raw for chunk, raw in found if raw is not None}
        return ChunksRead([chunk for chunk, _ in found], Inputs(None, inputs))

    def events(self, after: int, limit: int, job_key: str | None = None) -> EventsRead:
        """Return the events after a position, of one job or of all, oldest first."""
        wanted: dict[str, object] = {"after": after, "most": limit}
        statement = _EVENTS
        if job_key is not None:
            statement, wanted["key"] = _EVENTS_OF_JOB, job_key
        with self._database.read() as connection:
            position, trimmed = connection.execute(_ENDS).one()
            rows = [EventRow(*row) for row in connection.execute(statement, wanted)]
        complete = len(rows) < limit and sum(len(row.message) for row in rows) < MOST_BYTES
        through = max(position, after) if complete else rows[-1].position
        return EventsRead(rows, through, trimmed, complete)

    def expired_leases(self, now: int, limit: int) -> list[ChunkKey]:
        """Return chunks whose lease has run out."""
        return self._chunk_keys(leased & (chunks.c.lease_expire_time <= now), chunks.c.lease_expire_time, limit)

    def due_retries(self, now: int, limit: int) -> list[ChunkKey]:
        """Return chunks whose wait after a failed attempt is over."""
        return self._chunk_keys(delayed & (chunks.c.not_before <= now), chunks.c.not_before, limit)

    def _chunk_keys(self, condition: Any, order: Any, limit: int) -> list[ChunkKey]:  # noqa: ANN401  SQL expressions
        wanted = select(chunks.c.job_key, chunks.c.chunk_index).where(condition).order_by(order).limit(limit)
        with self._database.read() as connection:
            return [(key, index) for key, index in connection.execute(wanted)]

    def overdue_cancels(self, now: int, limit: int) -> list[str]:
        """Return CANCELLING jobs whose grace period is over."""
        return self._job_keys(cancelling & (jobs.c.cancel_deadline <= now), limit)

    def expired_jobs(self, now: int, limit: int) -> list[str]:
        """Return ended jobs whose time to be deleted has come."""
        return self._job_keys(expiring & (jobs.c.expire_time <= now) & jobs.c.state.in_(sorted(ENDED)), limit)

    def vitals(self) -> StoreVitals:
        """Return how the database fares."""
        dialect, file = self._database.dialect, self._database.file
        with self._database.read() as connection:
            position = _position(connection)
            version: str = connection.execute(_SCHEMA_VERSION).scalar_one()
            size, replicas = dialect.size(connection), dialect.replicas(connection)
        if file is None:
            return StoreVitals(position, version, size, replicas=replicas)
        log = file.with_name(f"{file.name}-wal")
        size += log.stat().st_size if log.exists() else 0
        return StoreVitals(position, version, size, shutil.disk_usage(file.parent).free)

    def _job_keys(self, condition: Any, limit: int) -> list[str]:  # noqa: ANN401  an SQL expression
        with self._database.read() as connection:
            return list(connection.execute(select(jobs.c.job_key).where(condition).limit(limit)).scalars())


def _position(connection: Connection) -> int:
    position: int = connection.execute(_POSITION).scalar_one()
    return position
