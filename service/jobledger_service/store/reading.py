"""The reading half: every method is one snapshot."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, select

from jobledger_service.domain.chunk import Chunk
from jobledger_service.domain.limits import CHUNKS_IN_VIEW
from jobledger_service.domain.states import ENDED, ChunkState
from jobledger_service.ledger.ports import (
    ChunkKey,
    ChunksRead,
    EventRow,
    EventsRead,
    Inputs,
    JobRead,
    JobsRead,
    JobStatus,
    Listed,
    Listing,
    View,
)
from jobledger_service.ledger.stats import Figures, StatsQuery

from .engines import Database
from .listing import BUDGET, Budget, list_keys
from .rows import CHUNK_COLUMNS, JOB_COLUMNS, STATUS_COLUMNS, chunk_of, job_of, status_of
from .running import RunningTotals
from .statistics import Statistics
from .tables import cancelling, chunks, delayed, events, expiring, jobs, leased, ledger

_POSITION = select(ledger.c.position)
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

    def __init__(self, database: Database, budget: Budget = BUDGET) -> None:
        self._database = database
        self._budget = budget
        keys = database.dialect.keys()
        self._statistics = Statistics(database.dialect)
        self._running = RunningTotals(database.dialect)
        self._jobs = select(*JOB_COLUMNS).where(jobs.c.job_key.in_(keys))
        self._statuses = select(*STATUS_COLUMNS).where(jobs.c.job_key.in_(keys))
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
            return JobsRead(_position(connection), self._jobs_of(connection, keys, full=full))

    def _jobs_of(self, connection: Connection, keys: Iterable[str], *, full: bool) -> dict[str, JobRead]:
        wanted = {"keys": self._database.dialect.key_values(keys)}
        found = [job_of(row) for row in connection.execute(self._jobs, wanted)]
        read = self._full(connection, wanted) if full and found else {}
        return {job.key: JobRead(job, *read.get(job.key, ())) for job in found}

    def read_statuses(self, keys: Iterable[str]) -> list[JobStatus]:
        """Return the statuses of the jobs that exist, in no order."""
        with self._database.read() as connection:
            return self._statuses_of(connection, keys)

    def _statuses_of(self, connection: Connection, keys: Iterable[str]) -> list[JobStatus]:
        wanted = {"keys": self._database.dialect.key_values(keys)}
        return [status_of(row) for row in connection.execute(self._statuses, wanted)]

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
        with self._database.read() as connection:
            position = _position(connection)
            found = list_keys(connection, self._database.dialect, listing, self._budget)
            keys = [key.job_key for key in found.keys]
            if listing.view is View.STATUS:
                by_key = {one.job_key: one for one in self._statuses_of(connection, keys)}
                shown = [by_key[key] for key in keys]
                return Listed(position, (), found.next, found.count, found.more, shown)
            jobs = self._jobs_of(connection, keys, full=listing.view is View.FULL)
            return Listed(position, [jobs[key] for key in keys], found.next, found.count, found.more)

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

    def figures(self, query: StatsQuery) -> Figures:
        """Return statistics."""
        with self._database.read() as connection:
            return self._statistics.read(connection, query)

    def unfolded(self, before: int) -> tuple[str, int] | None:
        """Return an owner and an hour before `before`, since 1970, with rollups to be folded; None for none."""
        with self._database.read() as connection:
            return self._running.unfolded(connection, before)

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

    def _job_keys(self, condition: Any, limit: int) -> list[str]:  # noqa: ANN401  an SQL expression
        with self._database.read() as connection:
            return list(connection.execute(select(jobs.c.job_key).where(condition).limit(limit)).scalars())


def _position(connection: Connection) -> int:
    position: int = connection.execute(_POSITION).scalar_one()
    return position
