"""The reading half: every method is one snapshot."""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    cast,
    func,
    literal,
    or_,
    select,
)

from jobledger_service.domain.chunk import Chunk
from jobledger_service.domain.epoch import Epoch
from jobledger_service.domain.health import MOST_DELIVERIES, StoreVitals
from jobledger_service.domain.job import Job, job_key
from jobledger_service.domain.limits import CHUNKS_IN_VIEW
from jobledger_service.domain.run import Run
from jobledger_service.domain.slots import MOST_PLACE, Limit
from jobledger_service.domain.states import ENDED, ChunkState, JobState
from jobledger_service.ledger.ports import ChunkKey, Inputs, Queue
from jobledger_service.ledger.read_ports import (
    ChunksRead,
    EventRow,
    EventsRead,
    JobRead,
    JobsRead,
    Listed,
    Listing,
    StatusesRead,
    View,
)
from jobledger_service.ledger.stats import Figures, StatsQuery
from jobledger_service.ledger.unreadable import UnreadableRows

from .chunk_rows import CHUNK_COLUMNS, chunk_of
from .duty_rows import LIMIT_COLUMNS, limit_of, run_of
from .engines import Database
from .epochs import read_epoch
from .job_rows import JOB_COLUMNS, STATUS_COLUMNS, job_of, status_of
from .listing import BUDGET, Budget, list_keys
from .running import RunningTotals
from .statistics import Statistics
from .tables import (
    audit,
    cancelling,
    chunks,
    counts,
    delayed,
    deliveries,
    event_owner,
    events,
    expiring,
    jobs,
    leased,
    ledger,
    limits,
    of_service,
    parked,
    pending,
    runs,
    schema_version,
)

R = TypeVar("R")
K = TypeVar("K", str, tuple[str, int])

_POSITION = select(ledger.c.position)
_ENDS = select(ledger.c.position, ledger.c.trimmed)
MAX_EVENT_BYTES = 1024 * 1024
"""A read of events ends with the event that makes it this large: at least one, if there is one."""


def _events(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Return the query for events after a position: those that are left out are measured, and not read."""
    size = func.length(events.c.message)
    measured = (
        select(events.c.position, (func.sum(size).over(order_by=events.c.position) - size).label("bytes_before"))
        .where(events.c.position > bindparam("after"), *conditions)
        .order_by(events.c.position)
        .limit(bindparam("most"))
        .subquery()
    )
    return (
        select(events.c.position, events.c.job_key, events.c.message, events.c.before)
        .join_from(measured, events, events.c.position == measured.c.position)
        .where(measured.c.bytes_before < MAX_EVENT_BYTES)
        .order_by(measured.c.position)
    )


_EVENTS = _events()
_EVENTS_OF_OWNER = _events(event_owner == bindparam("owner"))
_EVENTS_OF_JOB = _events(events.c.job_key == bindparam("key"))
_AUDIT = (
    select(audit.c.position, audit.c.job_key, audit.c.message)
    .where(audit.c.job_key == bindparam("key"), audit.c.position > bindparam("after"))
    .order_by(audit.c.position)
    .limit(bindparam("most"))
)


class SqlReadStore:
    """The reading half of the store."""

    def __init__(self, database: Database, budget: Budget = BUDGET, unreadable: UnreadableRows | None = None) -> None:
        self._database = database
        self._budget = budget
        self._unreadable = unreadable or UnreadableRows()
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
            self._epoch = read_epoch(connection)

    @property
    def epoch(self) -> Epoch:
        """The epoch that the ledger is in."""
        return self._epoch

    def position(self) -> int:
        """Return the position of the newest event."""
        with self._database.read() as connection:
            return _position(connection)

    def read_jobs(self, keys: Iterable[str], *, full: bool) -> JobsRead:
        """Return the jobs that exist."""
        with self._database.read() as connection:
            return self._jobs_of(connection, keys, full=full)

    def _jobs_of(self, connection: Connection, keys: Iterable[str], *, full: bool) -> JobsRead:
        wanted = {"keys": self._database.dialect.key_values(keys)}
        position = _position(connection)
        bad: set[str] = set()
        rows = connection.execute(self._jobs, wanted).all()
        found = [job for row in rows if (job := self._read(job_of, row, job_key(row[0], row[1]), bad)) is not None]
        read = self._full(connection, wanted, bad) if full and found else {}
        places = {job.key: _place(connection, job) for job in found if job.parked_for} if full else {}
        readable = [job for job in found if job.key not in bad]
        jobs = {job.key: JobRead(job, *read.get(job.key, _NOT_READ), places.get(job.key)) for job in readable}
        return JobsRead(position, jobs, bad)

    def _read(self, read: Callable[[Sequence[Any]], R], row: Sequence[Any], key: K, bad: set[K]) -> R | None:
        """Return what a row holds; None, having put its key among the bad ones, for one that cannot be read."""
        try:
            return read(row)
        except Exception as error:  # noqa: BLE001  whatever is wrong with one row is wrong with it alone
            self._unreadable.add(read.__name__.removesuffix("_of"), str(key), error)
            bad.add(key)
            return None

    def read_statuses(self, keys: Iterable[str]) -> StatusesRead:
        """Return the statuses of the jobs that exist."""
        with self._database.read() as connection:
            return self._statuses_of(connection, keys)

    def _statuses_of(self, connection: Connection, keys: Iterable[str]) -> StatusesRead:
        wanted = {"keys": self._database.dialect.key_values(keys)}
        bad: set[str] = set()
        rows = connection.execute(self._statuses, wanted).all()
        found = [one for row in rows if (one := self._read(status_of, row, row[0], bad)) is not None]
        return StatusesRead(found, bad)

    def _full(
        self, connection: Connection, wanted: dict[str, object], bad: set[str]
    ) -> dict[str, tuple[Inputs, list[Chunk]]]:
        """Return the inputs and the first chunks of jobs, by key; a job with a chunk that cannot be read is bad."""
        job_inputs: dict[str, bytes] = {key: raw for key, raw in connection.execute(self._inputs, wanted)}  # noqa: C416  rows are no pairs to mypy
        of_chunks: dict[str, dict[int, bytes]] = {}
        listed: dict[str, list[Chunk]] = {}
        for *row, raw in connection.execute(self._chunks, wanted).all():
            chunk = self._read(chunk_of, row, row[0], bad)
            if chunk is None:
                continue
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
                read = self._statuses_of(connection, keys)
                by_key = {one.job_key: one for one in read.statuses}
                shown, bad = _apart(keys, by_key)
                return Listed(position, (), found.next, found.count, found.more, shown, bad)
            jobs, bad = _apart(keys, self._jobs_of(connection, keys, full=listing.view is View.FULL).jobs)
            return Listed(position, jobs, found.next, found.count, found.more, (), bad)

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
            rows = connection.execute(wanted.order_by(chunks.c.chunk_index).limit(limit + 1)).all()
        page, bad = rows[:limit], set[tuple[str, int]]()
        read = [self._read(chunk_of, row[:-1], (row[0], row[1]), bad) for row in page]
        found = [chunk for chunk in read if chunk is not None]
        inputs = {row[1]: row[-1] for row in page if row[-1] is not None}
        last = page[-1][1] if page else after
        return ChunksRead(found, Inputs(None, inputs), last, len(rows) > limit, sorted(index for _, index in bad))

    def events(self, after: int, limit: int, *, owner: str | None = None, job_key: str | None = None) -> EventsRead:
        """Return the events after a position, of one job, of one owner or of all, oldest first."""
        wanted: dict[str, object] = {"after": after, "most": limit}
        statement = _EVENTS
        if job_key is not None:
            statement, wanted["key"] = _EVENTS_OF_JOB, job_key
        elif owner is not None:
            statement, wanted["owner"] = _EVENTS_OF_OWNER, owner
        with self._database.read() as connection:
            position, trimmed = connection.execute(_ENDS).one()
            rows = [EventRow(*row) for row in connection.execute(statement, wanted)]
        return _events_read(rows, after, limit, position, trimmed)

    def job_events(self, job_key: str, after: int, limit: int) -> EventsRead:
        """Return a job's events after a position, oldest first: what the audit trail keeps of them, then the whole."""
        with self._database.read() as connection:
            position, trimmed = connection.execute(_ENDS).one()
            wanted: dict[str, object] = {"after": after, "key": job_key, "most": limit}
            rows = [EventRow(*row, before=None) for row in connection.execute(_AUDIT, wanted)]
            if left := limit - len(rows):
                wanted["most"] = left
                rows += [EventRow(*row) for row in connection.execute(_EVENTS_OF_JOB, wanted)]
        return _events_read(rows, after, limit, position, trimmed)

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

    def free_slots(self, limit: int) -> list[str]:
        """Return parked jobs for which there is a slot, the most urgent and oldest of each limit."""
        waited_for = select(limits.c.limit_key, limits.c.most - limits.c.running).where(
            limits.c.waiting > 0, or_(limits.c.most.is_(None), limits.c.running < limits.c.most)
        )
        found: list[tuple[int, int, str]] = []
        with self._database.read() as connection:
            for key, free in connection.execute(waited_for).all():
                first = select(-jobs.c.priority, jobs.c.create_time, jobs.c.job_key).where(
                    jobs.c.parked_for == key, parked
                )
                most = limit if free is None else min(free, limit)
                found += connection.execute(first.order_by(*_PARKED).limit(most)).tuples()
        return [key for _, _, key in sorted(found)[:limit]]

    def limits(self, owner: str) -> list[Limit]:
        """Return the limits that are in force, by scope."""
        wanted = select(*LIMIT_COLUMNS).where(limits.c.owner == owner, limits.c.most.is_not(None))
        with self._database.read() as connection:
            return [limit_of(row) for row in connection.execute(wanted.order_by(limits.c.limit_key))]

    def vitals(self) -> StoreVitals:
        """Return how the database fares."""
        dialect, file = self._database.dialect, self._database.file
        with self._database.read() as connection:
            position = _position(connection)
            version: str = connection.execute(select(schema_version.c.version_num)).scalar_one()
            size, replicas = dialect.size(connection), dialect.replicas(connection)
            by_state: dict[str, int] = dict(connection.execute(_JOBS_BY_STATE).tuples().all())
            waiting, oldest = connection.execute(_DELIVERIES).one()
        free = None
        if file is not None:
            log = file.with_name(f"{file.name}-wal")
            size += log.stat().st_size if log.exists() else 0
            free = shutil.disk_usage(file.parent).free
        return StoreVitals(position, version, size, free, replicas, by_state, waiting, oldest)

    def _job_keys(self, condition: Any, limit: int) -> list[str]:  # noqa: ANN401  an SQL expression
        with self._database.read() as connection:
            return list(connection.execute(select(jobs.c.job_key).where(condition).limit(limit)).scalars())

    def service_queues(self) -> list[Queue]:
        """Return where chunks of the service's own jobs wait, those that have waited longest first."""
        queue = (chunks.c.owner, chunks.c.kind)
        wanted = select(*queue).where(of_service).group_by(*queue).order_by(func.min(chunks.c.create_time))
        with self._database.read() as connection:
            return [(owner, kind) for owner, kind in connection.execute(wanted)]

    def read_run(self, job_key: str) -> Run | None:
        """Return the run of one of the service's own jobs, None when there is no such job."""
        with self._database.read() as connection:
            wanted = select(runs.c.cursors, runs.c.counts, runs.c.told).where(runs.c.job_key == job_key)
            row = connection.execute(wanted).first()
        return None if row is None else run_of(row)


def _apart(keys: Sequence[str], found: Mapping[str, R]) -> tuple[list[R], list[str]]:
    """Return what was found, in the order of the keys, and the keys for which nothing was."""
    return [found[key] for key in keys if key in found], [key for key in keys if key not in found]


_JOBS_BY_STATE = select(counts.c.state, cast(func.sum(counts.c.jobs), BigInteger)).group_by(counts.c.state)
_WAITING = select(deliveries.c.create_time).where(pending).limit(MOST_DELIVERIES).subquery()
_DELIVERIES = select(func.count(), func.min(_WAITING.c.create_time)).select_from(_WAITING)
_PARKED = (jobs.c.priority.desc(), jobs.c.create_time, jobs.c.job_key)
_NOT_READ: tuple[Inputs, list[Chunk]] = (Inputs(), [])


def _place(connection: Connection, job: Job) -> int:
    """Return a parked job's place among those that wait for the same limit."""
    older = or_(
        jobs.c.create_time < job.spec.create_time,
        and_(jobs.c.create_time == job.spec.create_time, jobs.c.job_key < job.key),
    )
    ahead = or_(jobs.c.priority > job.priority, and_(jobs.c.priority == job.priority, older))
    counted = select(literal(1)).where(jobs.c.parked_for == job.parked_for, parked, ahead).limit(MOST_PLACE - 1)
    return connection.execute(select(func.count()).select_from(counted.subquery())).scalar_one() + 1


def _events_read(rows: Sequence[EventRow], after: int, limit: int, position: int, trimmed: int) -> EventsRead:
    complete = len(rows) < limit and sum(len(row.message) for row in rows) < MAX_EVENT_BYTES
    through = max(position, after) if complete else rows[-1].position
    return EventsRead(rows, through, trimmed, complete)


def _position(connection: Connection) -> int:
    position: int = connection.execute(_POSITION).scalar_one()
    return position
