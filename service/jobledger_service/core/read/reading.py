"""The reading half: every method is one snapshot."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Table,
    Text,
    bindparam,
    cast,
    func,
    select,
)

from jobledger_service.core.database.cells import read_json
from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.driver_statements import DriverStatement
from jobledger_service.core.database.engines import Database, position_of
from jobledger_service.core.database.history import History
from jobledger_service.core.database.maintenance.epochs import read_epoch
from jobledger_service.core.database.rows.artifact_versions import with_artifacts
from jobledger_service.core.database.rows.attempts import AttemptReads
from jobledger_service.core.database.rows.batch_rows import RUN
from jobledger_service.core.database.rows.outputs import select_chunks
from jobledger_service.core.database.rows.paused_kinds import is_paused
from jobledger_service.core.database.rows.reads import (
    AttemptsRead,
    AttemptsWanted,
    ChunksRead,
    EventRow,
    EventsRead,
    JobsRead,
    Known,
    Listed,
    Listing,
    View,
    nothing_known,
)
from jobledger_service.core.database.tables import (
    chunks,
    delayed,
    event_owner,
    events,
    expiring,
    jobs,
    ledger,
    of_service,
    runs,
    scheduled_jobs,
    waiting,
)
from jobledger_service.core.database.unreadable_rows import UnreadableRows
from jobledger_service.core.model.chunk import ChunkKey, Queue
from jobledger_service.core.model.history.epoch import Epoch
from jobledger_service.core.model.job import Inputs, Outputs, uid_of
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.run import RunState
from jobledger_service.core.model.states import ENDED, ChunkState

from .chunk_reads import ByteBudget, bounded, read_chunks
from .due import lapsed, overdue
from .event_pages import EventPageRead, EventPages, EventsWanted
from .job_reads import REPLY, SMALL, Bound, JobReads
from .listing import BUDGET, Budget, list_keys
from .trails import Trail, read_trail

_LAST_OWNER = select(func.max(jobs.c.owner)).where(jobs.c.owner < bindparam("below"))
_TRIMMED = select(ledger.c.trimmed)
MAX_EVENT_BYTES = 1024 * 1024
"""A read of events ends with the event that makes it this large: at least one, if there is one."""
EVENTS_AT_ONCE: Final = 32
"""Events that are fetched together."""
_EVENT_COLUMNS: Final = [
    *(events.c[name] for name in ("position", "job_key", "message")),
    cast(events.c.before, Text).label("before"),
    events.c.artifacts,
    events.c.artifacts_bytes,
]


def _events(dialect: Dialect, *conditions: ColumnElement[bool]) -> DriverStatement:
    """Return the query for the first events after a position.

    On PostgreSQL those that are left out are measured, and not read; SQLite reads each when it is asked for.
    """
    first = events.c.position > bindparam("after"), *conditions
    if not dialect.has_row_locks:
        plain = select(*_EVENT_COLUMNS).where(*first).order_by(events.c.position).limit(bindparam("limit"))
        return DriverStatement(plain)
    size = func.length(events.c.message) + events.c.artifacts_bytes
    measured = (
        select(
            events.c.position,
            (func.sum(size).over(order_by=events.c.position) - size).label("bytes_before"),
        )
        .where(*first)
        .order_by(events.c.position)
        .limit(bindparam("limit"))
        .subquery()
    )
    within = (
        select(*_EVENT_COLUMNS)
        .join_from(measured, events, events.c.position == measured.c.position)
        .where(measured.c.bytes_before < MAX_EVENT_BYTES)
        .order_by(measured.c.position)
    )
    return DriverStatement(within)


class ReadStore:
    """The reading half of the store."""

    def __init__(self, database: Database, budget: Budget = BUDGET, unreadable: UnreadableRows | None = None) -> None:
        self._database = database
        self._budget = budget
        self._unreadable = unreadable or UnreadableRows()
        self._attempts = AttemptReads(database.dialect, self._unreadable)
        self._jobs = JobReads(database.dialect, self._unreadable, self._attempts)
        page = select_chunks(with_outputs=True).where(
            chunks.c.job_key == bindparam("key"), chunks.c.chunk_index > bindparam("after", type_=BigInteger)
        )
        page = page.order_by(chunks.c.chunk_index).limit(bindparam("limit", type_=BigInteger))
        in_states = page.where(database.dialect.is_one_of(chunks.c.state, "states"))
        self._chunks = {
            (of_states, claimable): bounded(database.dialect, selected.where(waiting) if claimable else selected)
            for of_states, selected in ((False, page), (True, in_states))
            for claimable in (False, True)
        }
        self._events = _events(database.dialect)
        self._events_of_owner = _events(database.dialect, event_owner == bindparam("owner"))
        self._events_of_job = _events(database.dialect, events.c.job_key == bindparam("key"))
        self._event_pages = EventPages(database.dialect)
        self._existing = select(jobs.c.job_key).where(jobs.c.job_key.in_(database.dialect.keys()))
        with database.read() as connection:
            self._epoch = read_epoch(connection)

    @property
    def epoch(self) -> Epoch:
        """The epoch of the ledger."""
        return self._epoch

    @property
    def history(self) -> History:
        """What this process has seen of the ledger's history."""
        return self._database.history

    def position(self) -> int:
        """Return the position of the newest event."""
        with self._database.read() as connection:
            return position_of(connection)

    def read_jobs(
        self,
        keys: Sequence[str],
        view: View,
        bound: Bound = REPLY,
        *,
        with_outputs: bool = False,
        known: Known = nothing_known,
    ) -> JobsRead:
        """Return the jobs that exist, as far as the bound allows."""
        if bound.small_only:
            return self._read_small_jobs(keys, view)
        with self._database.read() as connection:
            position = position_of(connection)
            encoded, room = _known_within(known(keys, position), bound.max_bytes)
            unknown = [key for key in keys if key not in encoded]
            read = self._jobs.read(connection, unknown, view, Bound(room), with_outputs=with_outputs)
            return JobsRead(position, read.jobs, read.bad, read.unread, encoded)

    def _read_small_jobs(self, keys: Sequence[str], view: View) -> JobsRead:
        with self._database.read(reads_position=False) as connection:
            read = self._jobs.read(connection, keys, view, SMALL, with_outputs=True)
            if read.place is None:
                position = self._database.find_position(connection)
            else:
                position, _ = read.place
                self._database.compare(connection, *read.place)
            return JobsRead(position, read.jobs, read.bad, read.unread)

    def existing(self, keys: Iterable[str]) -> list[str]:
        """Return those of these keys that jobs have."""
        with self._database.read() as connection:
            return list(connection.execute(self._existing, {"keys": self._database.dialect.key_values(keys)}).scalars())

    def list_jobs(self, listing: Listing, known: Known = nothing_known) -> Listed:
        """Return a page of jobs, as many as fit into a reply."""
        with self._database.read() as connection:
            position = position_of(connection)
            page = list_keys(connection, self._database.dialect, listing, self._budget)
            keys = [key.job_key for key in page.keys]
            encoded, room = _known_within(known(keys, position), REPLY.max_bytes // listing.copies)
            unknown = [key for key in keys if key not in encoded]
            within = self._jobs.read(connection, unknown, listing.view, Bound(room))
        looked = keys[: keys.index(within.unread[0])] if within.unread else keys
        shown = [within.jobs[key] for key in looked if key in within.jobs]
        bad = [key for key in looked if key not in within.jobs and key not in encoded]
        follows = page.keys[len(looked) - 1] if within.unread else page.next
        return Listed(position, looked, shown, encoded, bad, follows, page.count, page.more)

    def list_chunks(
        self,
        job_key: str,
        states: frozenset[ChunkState],
        after: int,
        limit: int,
        *,
        claimable: bool = False,
        uid: str = "",
        create_time: Micros | None = None,
    ) -> ChunksRead | None:
        """Return a job's chunks with an index above `after`, as many as fit into a reply; None without such a job.

        Those that are `claimable` are PENDING, and nothing holds them. `create_time` is that of the job whose earlier
        pages were read.
        """
        values = {
            "key": job_key,
            "after": after,
            "limit": limit + 1,
            "states": self._database.dialect.key_values(sorted(states)),
        }
        with self._database.read() as connection:
            of_job = select(is_paused(jobs.c.owner, jobs.c.kind), jobs.c.create_time)
            job = connection.execute(of_job.where(*_meant(job_key, uid, create_time))).first()
            if job is None:
                return None
            paused, created = job
            if paused and claimable:
                return ChunksRead([], Inputs(), Outputs(), after, paused=True, create_time=created)
            statement = self._chunks[bool(states), claimable]
            read = read_chunks(connection, statement, values, ByteBudget(REPLY.max_bytes), self._unreadable)
        fetched, bad = read.of_job.get(job_key, []), {index for _, index in read.bad}
        looked = sorted(bad.union(chunk.index for chunk in fetched))
        last = looked[:limit][-1] if looked else after
        inputs = Inputs(None, read.inputs.get(job_key, {}))
        outputs = Outputs(None, read.outputs.get(job_key, {}))
        more = len(looked) > limit or not read.complete
        shown, unreadable = [chunk for chunk in fetched if chunk.index <= last], sorted(n for n in bad if n <= last)
        return ChunksRead(shown, inputs, outputs, last, more, unreadable, paused, created)

    def list_attempts(self, query: AttemptsWanted) -> AttemptsRead | None:
        """Return a page of attempts, as many as fit into a reply; None when there is no such job."""
        with self._database.read() as connection:
            meant = _meant(query.job_key, query.uid, query.create_time)
            created = connection.scalar(select(jobs.c.create_time).where(*meant))
            if created is None:
                return None
            return replace(self._attempts.page(connection, query, REPLY.max_bytes), create_time=created)

    def events(
        self, after: int, limit: int, *, owner: str | None = None, job_key: str | None = None, bare: bool = False
    ) -> EventsRead:
        """Return the events after a position, of one job, of one owner or of all, oldest first.

        `bare` ones lack their artifacts.
        """
        values: dict[str, object] = {"after": after, "limit": limit}
        statement = self._events
        if job_key is not None:
            statement, values["key"] = self._events_of_job, job_key
        elif owner is not None:
            statement, values["owner"] = self._events_of_owner, owner
        with self._database.read() as connection:
            position, trimmed = position_of(connection), connection.execute(_TRIMMED).scalar_one()
            fetched, size = statement.fetch(connection, values, _within)
            rows = [EventRow(*row[:4]) for row in fetched] if bare else with_artifacts(connection, fetched)

        return _events_read(rows, size, after, limit, position, trimmed)

    def trail(self, job_key: str, uid: str) -> Trail | None:
        """Return the positions of the events of one of the jobs that have had a key, None without such a job."""
        with self._database.read() as connection:
            return read_trail(connection, job_key, uid_of(uid))

    def find_events(self, query: EventsWanted, after: int | None, limit: int) -> EventPageRead | None:
        """Return a page of events, without artifacts; None when the job of the query has no trail."""
        with self._database.read() as connection:
            if query.job_key is None:
                return self._event_pages.read(connection, query, after, limit)
            trail = read_trail(connection, query.job_key, query.uid)
            if trail is None:
                return None
            of_job = replace(query, begin=trail.begin, end=trail.end)
            return replace(self._event_pages.read(connection, of_job, after, limit), uid=trail.uid)

    def last_owner(self, below: str) -> str | None:
        """Return the last owner of jobs whose name comes before another, None when there is none."""
        with self._database.read() as connection:
            owner: str | None = connection.execute(_LAST_OWNER, {"below": below}).scalar_one()
        return owner

    def expired_leases(self, now: Micros, limit: int, but: Sequence[str] = ()) -> list[ChunkKey]:
        """Return chunks whose lease has expired, roughly the earliest first, without those of the owners in `but`."""
        return self._chunk_keys(lapsed(now), chunks.c.lease_check_time, limit, but)

    def due_backoffs(self, now: Micros, limit: int, but: Sequence[str] = ()) -> list[ChunkKey]:
        """Return chunks whose backoff is over, the earliest first, without those of the owners in `but`."""
        is_due = delayed & (chunks.c.next_attempt_time <= now)
        return self._chunk_keys(is_due, chunks.c.next_attempt_time, limit, but)

    def due_schedules(self, now: Micros, limit: int, but: Sequence[str] = ()) -> list[str]:
        """Return jobs whose schedule_time has come, the earliest first, without those of the owners in `but`."""
        return self._job_keys(scheduled_jobs & (jobs.c.held_until <= now), jobs.c.held_until, limit, but)

    def _chunk_keys(self, condition: Any, time: Any, limit: int, but: Sequence[str]) -> list[ChunkKey]:  # noqa: ANN401  SQL expressions
        statement = select(chunks.c.job_key, chunks.c.chunk_index).where(condition, *_of_others(chunks, but))
        statement = statement.order_by(time).limit(limit)
        with self._database.read() as connection:
            return [(key, index) for key, index in connection.execute(statement)]

    def overdue_jobs(self, now: Micros, cutoff: int, limit: int, but: Sequence[str] = ()) -> list[str]:
        """Return jobs whose deadline has come, CANCELLING ones by now and runs by a cutoff, without owners in `but`."""
        return self._job_keys(overdue(now, cutoff), jobs.c.deadline, limit, but)

    def expired_jobs(self, now: Micros, limit: int, but: Sequence[str] = ()) -> list[str]:
        """Return ended jobs whose expire_time has come, without those of the owners in `but`."""
        is_due = expiring & (jobs.c.expire_time <= now) & jobs.c.state.in_(sorted(ENDED))
        return self._job_keys(is_due, jobs.c.expire_time, limit, but)

    def _job_keys(self, condition: Any, time: Any, limit: int, but: Sequence[str]) -> list[str]:  # noqa: ANN401  SQL expressions
        statement = select(jobs.c.job_key).where(condition, *_of_others(jobs, but)).order_by(time).limit(limit)
        with self._database.read() as connection:
            return list(connection.execute(statement).scalars())

    def service_queues(self) -> list[Queue]:
        """Return the queues of waiting chunks of the service's own jobs, the longest waiting first."""
        queue = (chunks.c.owner, chunks.c.kind)
        statement = select(*queue).where(of_service).group_by(*queue).order_by(func.min(chunks.c.create_time))
        with self._database.read() as connection:
            return [(owner, kind) for owner, kind in connection.execute(statement)]

    def read_run(self, job_key: str) -> RunState | None:
        """Return the run of one of the service's own jobs, None when there is no such job."""
        with self._database.read() as connection:
            run = connection.execute(select(runs.c.run).where(runs.c.job_key == job_key)).scalar()
        return None if run is None else RUN.decode(run)


def _known_within(known: Mapping[str, bytes], room: int) -> tuple[Mapping[str, bytes], int]:
    """Return known jobs, and the bytes that they leave for others: none if they are more than half."""
    remaining = room - sum(map(len, known.values()))
    return (known, remaining) if remaining >= room // 2 else ({}, room)


def _meant(job_key: str, uid: str, create_time: Micros | None) -> list[ColumnElement[bool]]:
    """Return the conditions of the job of a key, which has the uid and was created then, where these are given."""
    of_uid = [jobs.c.uid == uid_of(uid)] if uid else []
    return [jobs.c.job_key == job_key, *of_uid, *([] if create_time is None else [jobs.c.create_time == create_time])]


def _of_others(table: Table, owners: Sequence[str]) -> list[ColumnElement[bool]]:
    return [table.c.owner.not_in(owners)] if owners else []


def _within(cursor: Any) -> tuple[list[tuple[Any, ...]], int]:  # noqa: ANN401  the driver's
    """Return the events up to the one that fills MAX_EVENT_BYTES, and how many bytes they have with their artifacts."""
    rows: list[tuple[Any, ...]] = []
    size = 0
    while fetched := cursor.fetchmany(EVENTS_AT_ONCE):
        for position, key, message, before, artifacts, artifacts_bytes in fetched:
            if size >= MAX_EVENT_BYTES:
                return rows, size
            rows.append((position, key, message, None if before is None else read_json(before), artifacts))
            size += len(message) + artifacts_bytes
    return rows, size


def _events_read(
    rows: Sequence[EventRow], size: int, after: int, limit: int, position: int, trimmed: int
) -> EventsRead:
    complete = len(rows) < limit and size < MAX_EVENT_BYTES
    through = max(position, after) if complete else rows[-1].position
    return EventsRead(rows, through, trimmed, complete)
