"""The writing half: one transaction a batch, with statements over sets."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Connection,
    Integer,
    Table,
    and_,
    bindparam,
    case,
    delete,
    exists,
    insert,
    literal_column,
    select,
    update,
)

from jobledger_service.core.database.beginning import TERM
from jobledger_service.core.database.cells import Row, json_text
from jobledger_service.core.database.dialects import Dialect, Rows
from jobledger_service.core.database.driver_statements import DriverStatement
from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.rows.artifact_versions import references_row, version_rows, with_versions
from jobledger_service.core.database.rows.attempts import dropped_attempts
from jobledger_service.core.database.rows.chunk_rows import (
    CHUNK_COLUMNS,
    attempt_row,
    chunk_of,
    chunk_row,
    steady_chunk_row,
    with_artifacts,
)
from jobledger_service.core.database.rows.entry import Entry, JobSegments, Positions
from jobledger_service.core.database.rows.event_terms import INDEXED, EventTerms, term_rows
from jobledger_service.core.database.rows.job_rows import (
    JOB_COLUMNS,
    WHOLE_JOBS,
    job_of,
    job_row,
    new_job_row,
    settled_job_row,
    steady_job_row,
)
from jobledger_service.core.database.rows.paused_kinds import paused_among
from jobledger_service.core.database.rows.row_sets import RowSets
from jobledger_service.core.database.rows.writes import WaitingChunk, Writes
from jobledger_service.core.database.tables import (
    artifact_versions,
    attempts,
    chunks,
    deleted_outputs,
    event_terms,
    job_words,
    jobs,
    ledger,
    outputs,
    tombstones,
)
from jobledger_service.core.database.tables import events as event_table
from jobledger_service.core.database.unreadable_rows import SetAside, UnreadableRows
from jobledger_service.core.model.chunk import Chunk, ChunkKey, Queue
from jobledger_service.core.model.filters.filter import FilterFields, changed_fields
from jobledger_service.core.model.history.change import CHANGE_BITS, Change, JobDelta
from jobledger_service.core.model.history.terms import Term
from jobledger_service.core.model.holds import HELD_BY_JOB
from jobledger_service.core.model.job import Inputs, Job, job_key
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.states import UNFINISHED, ChunkState

from .new_chunks import insert_chunks
from .parked_jobs import BY_URGENCY
from .ready_owners import ReadyOwner, ReadyOwners, ReadyOwnersQuery
from .sweeping import JobSweeps, SweepStatements, waiting_values
from .waiting_chunks import WaitingChunks

_NOW: Final[BindParameter[int]] = bindparam("now", type_=BigInteger)
_OWN_HELD: Final = chunks.c.held.bitwise_and(literal_column(str(~HELD_BY_JOB)))
_later: Final = case((ledger.c.commit_time > _NOW, ledger.c.commit_time), else_=_NOW)
"""The time of a commit: never before that of the previous position."""
_OWNER, _JOB_ID, _ARTIFACTS_REVISION = (
    [column.name for column in JOB_COLUMNS].index(name) for name in ("owner", "job_id", "artifacts_revision")
)


class Statements:
    """The statements that take parameters, built once."""

    def __init__(self, dialect: Dialect) -> None:
        named = dialect.chunk_keys()
        is_named = and_(chunks.c.job_key == named.c.job_key, chunks.c.chunk_index == named.c.chunk_index)
        self.sweeps = SweepStatements(dialect)
        self.jobs = DriverStatement(
            select(*JOB_COLUMNS[:-1])
            .where(jobs.c.job_key.in_(dialect.keys()))
            .order_by(jobs.c.job_key)
            .with_for_update()
        )
        self.artifacts = (
            select(jobs.c.job_key, artifact_versions.c.content)
            .select_from(WHOLE_JOBS)
            .where(jobs.c.job_key.in_(dialect.keys()))
        )
        self.chunks = DriverStatement(select(*CHUNK_COLUMNS).select_from(with_artifacts(named.join(chunks, is_named))))
        of_job = select(jobs.c.job_key, literal_column("-1"), jobs.c.input).where(
            jobs.c.job_key.in_(dialect.keys("of")), jobs.c.input.is_not(None)
        )
        of_chunks = (
            select(chunks.c.job_key, chunks.c.chunk_index, chunks.c.input)
            .select_from(named.join(chunks, is_named))
            .where(chunks.c.input.is_not(None))
        )
        self.inputs = DriverStatement(of_job.union_all(of_chunks))
        self.delete_chunks = delete(chunks).where(chunks.c.job_key.in_(dialect.keys()))
        self.delete_attempts = delete(attempts).where(attempts.c.job_key.in_(dialect.keys()))
        self.leave_outputs = insert(deleted_outputs).from_select(
            ["uid"],
            select(jobs.c.uid).where(
                jobs.c.job_key.in_(dialect.keys()), exists().where(outputs.c.uid == jobs.c.uid).correlate(jobs)
            ),
        )
        self.delete_jobs = delete(jobs).where(jobs.c.job_key.in_(dialect.keys()))
        self.follow = (
            update(chunks)
            .where(chunks.c.job_key == bindparam("of"), chunks.c.state == ChunkState.PENDING)
            .values(priority=bindparam("to_priority"), held=_OWN_HELD.bitwise_or(bindparam("to_held")))
        )
        self.raise_attempts = (
            update(chunks)
            .where(chunks.c.job_key == bindparam("of"), chunks.c.state.in_(sorted(UNFINISHED)))
            .values(max_attempts=chunks.c.max_attempts + bindparam("more", type_=Integer))
        )
        self.take_positions = DriverStatement(
            update(ledger)
            .where(ledger.c.id == 1)
            .values(position=ledger.c.position + bindparam("taken"), commit_time=_later)
            .returning(ledger.c.position, ledger.c.commit_time)
        )
        first = BY_URGENCY.limit(bindparam("limit", type_=Integer))
        self.first_parked = dialect.first_of_each(first, jobs.c.parked_for)
        self.lock_free = DriverStatement(
            select(jobs.c.job_key)
            .where(jobs.c.job_key.in_(dialect.keys()))
            .order_by(jobs.c.job_key)
            .with_for_update(skip_locked=True)
        )
        self.paused_kinds = paused_among(dialect)
        self.waiting = WaitingChunks(dialect)
        self.ready_owners = ReadyOwners(dialect)


class Transaction(JobSweeps):
    """The transaction of one batch."""

    def __init__(
        self,
        connection: Connection,
        dialect: Dialect,
        statements: Statements,
        unreadable: UnreadableRows,
        set_aside: SetAside,
    ) -> None:
        super().__init__(connection, dialect, statements.sweeps, unreadable)
        self._statements = statements
        self._set_aside = set_aside
        self._bad: set[str | ChunkKey] = set()
        self._row_sets = RowSets(dialect)
        self.last_position: int | None = None
        """The last position that was taken, if any was."""

    @property
    def term(self) -> Term:
        """The term of the positions that the transaction takes."""
        term: Term = self.connection.info[TERM]
        return term

    @property
    def shared(self) -> bool:
        """Whether other processes may hold jobs."""
        return self._dialect.has_row_locks

    def waiting_chunks(self, limits: Mapping[Queue, int]) -> dict[Queue, list[WaitingChunk]]:
        """Return the first waiting chunks of each queue, up to its limit, by urgency and then by the age of their job.

        Rows that were unreadable recently are skipped.
        """
        return self._statements.waiting.read(self.connection, limits, self._set_aside.names())

    def ready_owners(self, query: ReadyOwnersQuery) -> list[ReadyOwner]:
        """Return owners with waiting chunks, the most urgent first; rows that were unreadable recently are skipped."""
        return self._statements.ready_owners.read(self.connection, query, self._set_aside.names())

    def paused_kinds(self, queues: Collection[Queue]) -> Collection[Queue]:
        """Return the paused kinds among these, perhaps with other paused kinds of the same owners."""
        owners, kinds = ({queue[n] for queue in queues} for n in (0, 1))
        parameters = {"owners": self._dialect.key_values(owners), "kinds": self._dialect.key_values(kinds)}
        return {(owner, kind) for owner, kind in self.connection.execute(self._statements.paused_kinds, parameters)}

    def first_parked(self, limits: Collection[str], count: int) -> list[str]:
        """Return the first `count` jobs that wait for slots of some limits. This locks nothing."""
        parameters = {"keys": self._dialect.key_values(limits), "limit": count}
        rows = self.connection.execute(self._statements.first_parked, parameters).all()
        return [key for *_, key in sorted(tuple(row) for row in rows)][:count]

    def lock_free(self, keys: Collection[str]) -> Collection[str]:
        """Lock the jobs that no other replica holds, and return them.

        Waiting for the others here, with jobs locked already, could deadlock.
        """
        if not self.shared:
            return keys
        parameters = {"keys": self._dialect.key_values(keys)}
        return {key for (key,) in self._statements.lock_free.rows(self.connection, parameters)}

    def jobs(self, keys: Iterable[str]) -> dict[str, Job]:
        """Lock the jobs that exist, in the order of their keys, and return them."""
        rows = self._statements.jobs.rows(self.connection, {"keys": self._dialect.key_values(keys)})
        by_key = {job_key(row[_OWNER], row[_JOB_ID]): row for row in rows}
        versioned = [key for key, row in by_key.items() if row[_ARTIFACTS_REVISION] is not None]
        artifacts = self._artifacts(versioned) if versioned else {}
        bad: set[str] = set()
        read = (
            self._unreadable.read("job", job_of, (*row, artifacts.get(key)), key, bad) for key, row in by_key.items()
        )
        jobs = {job.key: job for job in read if job is not None}
        if bad:
            self._put_aside(bad)
        return jobs

    def _artifacts(self, keys: Sequence[str]) -> dict[str, str]:
        """Return the artifacts of locked jobs.

        A join with the jobs would miss those of a job that changed while its lock was awaited.
        """
        rows = self.connection.execute(self._statements.artifacts, {"keys": self._dialect.key_values(keys)})
        return {key: content for key, content in rows}  # noqa: C416  rows are no pairs to mypy

    def chunks(self, keys: Iterable[ChunkKey]) -> dict[ChunkKey, Chunk]:
        """Return the chunks that exist, of locked jobs."""
        rows = self._statements.chunks.rows(self.connection, self._dialect.chunk_key_values(sorted(keys)))
        bad: set[ChunkKey] = set()
        read = (self._unreadable.read("chunk", chunk_of, row, (row[0], row[1]), bad) for row in rows)
        chunks = {(chunk.job_key, chunk.index): chunk for chunk in read if chunk is not None}
        if bad:
            self._put_aside(bad)
        return chunks

    def _put_aside(self, bad: Iterable[str | ChunkKey]) -> None:
        for key in bad:
            self._bad.add(key)
            self._set_aside.add(key)

    @property
    def unreadable(self) -> Collection[str | ChunkKey]:
        """The jobs and chunks that were asked for, exist, and cannot be read."""
        return self._bad

    def with_versions(self, keys: Iterable[str]) -> set[str]:
        """Return the keys of the jobs that ever had artifacts, of their own or of their chunks."""
        condition = jobs.c.job_key.in_(self._dialect.keys())
        return with_versions(self.connection, condition, {"keys": self._dialect.key_values(keys)})

    def inputs(self, chunks: Iterable[ChunkKey]) -> dict[str, Inputs]:
        """Return the inputs of these chunks and of their jobs, by job."""
        chunk_keys = list(chunks)
        of_jobs = {"of": self._dialect.key_values({key for key, _ in chunk_keys})}
        by_job: dict[str, dict[int, bytes]] = {}
        parameters = of_jobs | self._dialect.chunk_key_values(chunk_keys)
        for key, index, raw in self._statements.inputs.rows(self.connection, parameters):
            by_job.setdefault(key, {})[index] = raw
        return {key: Inputs(inputs.pop(-1, None), inputs) for key, inputs in by_job.items()}

    def save(self, writes: Writes) -> None:
        """Write the rows of jobs and chunks, of each table by key."""
        run, statements = self.connection.execute, self._statements
        if writes.deleted_jobs:
            keys = {"keys": self._dialect.key_values(writes.deleted_jobs)}
            run(statements.delete_chunks, keys)
            run(statements.delete_attempts, keys)
            run(statements.leave_outputs, keys)
            run(statements.delete_jobs, keys)
        new_jobs = sorted(writes.new_jobs, key=lambda new: new[0].key)
        self._insert(jobs, [_new_row(*new) for new in new_jobs])
        self._update(jobs, [job_row(job) | {"moving": segments.moving} for job, segments in writes.jobs])
        steady_jobs = [steady_job_row(job) | {"moving": segments.moving} for job, segments in writes.steady_jobs]
        self._update(jobs, steady_jobs)
        settled_jobs = [settled_job_row(job) | {"fixed": segments.fixed} for job, segments in writes.settled_jobs]
        self._update(jobs, settled_jobs)
        if writes.new_chunks:
            insert_chunks(self.connection, self._row_sets, writes.new_chunks)
        if writes.more_attempts:
            run(statements.raise_attempts, [{"of": job.key, "more": more} for job, more in writes.more_attempts])
        if writes.swept:
            self.save_swept(writes.swept)
        self._update(chunks, [chunk_row(job, chunk) for job, chunk in writes.chunks])
        self._update(chunks, [steady_chunk_row(chunk) for chunk in writes.steady_chunks])
        self._insert(attempts, [attempt_row(chunk) for _, chunk in writes.attempts])
        if too_old := [key for pair in writes.attempts for key in dropped_attempts(*pair)]:
            self._row_sets.delete(self.connection, attempts, too_old)
        if writes.followed:
            run(statements.follow, [{"of": job.key, **waiting_values(job)} for job in writes.followed])
        self._insert(job_words, [{"job_key": key, "words": words} for key, words in writes.new_words])
        self._update(job_words, [{"job_key": key, "words": words} for key, words in writes.words])

    def _insert(self, table: Table, rows: Rows) -> None:
        if rows:
            self._row_sets.insert(self.connection, table, rows)

    def _update(self, table: Table, rows: Rows) -> None:
        if rows:
            self._row_sets.update(self.connection, table, rows)

    def announce_ready(self, ready: Mapping[Queue, int]) -> None:
        """Notify other processes, at the commit, how many chunks wait again without an event."""
        self._dialect.announce_ready(self.connection, ready)

    def take_positions(self, deltas: Sequence[JobDelta], entries: Sequence[Entry], now: Micros) -> Positions:
        """Insert the artifacts that these entries changed; then take a position for each, as the last lock."""
        pairs = zip(deltas, entries, strict=True)
        self._insert(artifact_versions, [row for pair in pairs if pair[1].artifacts for row in version_rows(*pair)])
        taken = {"taken": len(entries), "now": now}
        [(last, commit_time)] = self._statements.take_positions.rows(self.connection, taken)
        self.last_position = last
        return Positions(last - len(entries) + 1, commit_time)

    def insert_events(self, deltas: Sequence[JobDelta], entries: Sequence[Entry], commit_time: Micros) -> None:
        """Insert entries at positions that were taken; other replicas learn of them at the commit."""
        pairs = list(zip(deltas, entries, strict=True))
        self._insert(event_table, [_event_row(delta, entry, commit_time) for delta, entry in pairs])
        indexed = [_terms_of(delta, entry) for delta, entry in pairs if not INDEXED.isdisjoint(entry.changes)]
        if indexed:
            self._row_sets.add(self.connection, event_terms, term_rows(indexed))
        gone = [_tombstone_row(delta.job, entry, commit_time) for delta, entry in pairs if delta.deleted]
        self._insert(tombstones, gone)


def _new_row(job: Job, inputs: Inputs, segments: JobSegments) -> Row:
    return new_job_row(job, inputs.job) | {"fixed": segments.fixed, "moving": segments.moving}


def _event_row(delta: JobDelta, entry: Entry, commit_time: Micros) -> Row:
    before = entry.before and json_text(changed_fields(entry.before, entry.after or FilterFields.of(delta.job)))
    return {
        "position": entry.position,
        "job_key": entry.job_key,
        "commit_time": commit_time,
        "changes": _bits_of(delta.changes),
        "message": entry.stored,
        "before": before,
        "previous": entry.previous,
        **references_row(delta, entry),
    }


def _terms_of(delta: JobDelta, entry: Entry) -> EventTerms:
    spec = delta.job.spec
    changes = ((change.type, change.actor) for change in delta.changes)
    return EventTerms(entry.position, spec.owner, spec.kind, changes)


def _bits_of(changes: Iterable[Change]) -> int:
    bits = 0
    for change in changes:
        bits |= CHANGE_BITS[change.type]
    return bits


def _tombstone_row(job: Job, entry: Entry, commit_time: Micros) -> Row:
    return {
        "position": entry.position,
        "owner": job.spec.owner,
        "create_time": job.spec.create_time,
        "job_key": entry.job_key,
        "uid": job.spec.uid_bytes,
        "delete_time": commit_time,
    }


class WriteStore:
    """The writing half of the store."""

    def __init__(self, database: Database, unreadable: UnreadableRows | None = None) -> None:
        self._database = database
        self._statements = Statements(database.dialect)
        self._unreadable = unreadable or UnreadableRows()
        self._set_aside = SetAside()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open a transaction that commits, durably, when the block ends without an error."""
        with self._database.write() as connection:
            dialect = self._database.dialect
            transaction = Transaction(connection, dialect, self._statements, self._unreadable, self._set_aside)
            term = transaction.term
            yield transaction
        if transaction.last_position is not None:
            self._database.history.advance(term, transaction.last_position)
