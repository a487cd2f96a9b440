"""The writing half: one transaction a batch, with statements over sets."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Table, and_, bindparam, delete, select, union_all, update

from jobledger_service.domain.chunk import Chunk
from jobledger_service.domain.filter import Facts, facts_diff
from jobledger_service.domain.job import Job
from jobledger_service.domain.run import NEW_RUN, Run
from jobledger_service.domain.slots import Limit
from jobledger_service.domain.states import ChunkState
from jobledger_service.ledger.entry import Encoded, Record
from jobledger_service.ledger.ports import ChunkKey, Inputs
from jobledger_service.ledger.write_ports import Candidates, Demand, Request, Seal, Transaction, Writes

from .cells import json_text
from .chunk_rows import CHUNK_COLUMNS, chunk_of, chunk_row, new_chunk_row
from .dialects import Dialect, Rows
from .duty_rows import LIMIT_COLUMNS, limit_of, limit_row, run_of, run_row
from .engines import Database
from .job_rows import JOB_COLUMNS, job_of, job_row, new_job_row
from .row_sets import RowSets
from .tables import (
    chunks,
    counts,
    events,
    job_words,
    jobs,
    ledger,
    limits,
    requests,
    rollups,
    runs,
    tombstones,
    waiting,
)
from .tallies import count_rows, rollup_rows


class Statements:
    """The statements that take parameters, built once."""

    def __init__(self, dialect: Dialect) -> None:
        wanted = dialect.chunk_keys()
        is_wanted = and_(chunks.c.job_key == wanted.c.job_key, chunks.c.chunk_index == wanted.c.chunk_index)
        self.jobs = (
            select(*JOB_COLUMNS).where(jobs.c.job_key.in_(dialect.keys())).order_by(jobs.c.job_key).with_for_update()
        )
        self.chunks = select(*CHUNK_COLUMNS).select_from(wanted.join(chunks, is_wanted))
        self.chunks_of = (
            select(*CHUNK_COLUMNS).where(chunks.c.job_key == bindparam("key")).order_by(chunks.c.chunk_index)
        )
        self.requests = select(requests.c.request_key, requests.c.fingerprint, requests.c.job_key).where(
            requests.c.request_key.in_(dialect.keys())
        )
        self.runs = select(runs.c.job_key, runs.c.cursors, runs.c.counts, runs.c.told).where(
            runs.c.job_key.in_(dialect.keys())
        )
        self.job_inputs = select(jobs.c.job_key, jobs.c.input).where(
            jobs.c.job_key.in_(dialect.keys()), jobs.c.input.is_not(None)
        )
        self.chunk_inputs = (
            select(chunks.c.job_key, chunks.c.chunk_index, chunks.c.input)
            .select_from(wanted.join(chunks, is_wanted))
            .where(chunks.c.input.is_not(None))
        )
        self.delete_jobs = delete(jobs).where(jobs.c.job_key.in_(dialect.keys()))
        self.reprioritise = (
            update(chunks)
            .where(chunks.c.job_key == bindparam("of"), chunks.c.state == ChunkState.PENDING)
            .values(priority=bindparam("to"))
        )
        self.take_positions = (
            update(ledger)
            .where(ledger.c.one == 1)
            .values(position=ledger.c.position + bindparam("taken"))
            .returning(ledger.c.position)
        )
        self.lock_free = (
            select(jobs.c.job_key)
            .where(jobs.c.job_key.in_(dialect.keys()))
            .order_by(jobs.c.job_key)
            .with_for_update(skip_locked=True)
        )
        self.any_limit = select(limits.c.limit_key).limit(1)
        self.limits = (
            select(*LIMIT_COLUMNS)
            .where(limits.c.limit_key.in_(dialect.keys()))
            .order_by(limits.c.limit_key)
            .with_for_update()
        )
        self.park = (
            update(chunks)
            .where(chunks.c.job_key == bindparam("of"), chunks.c.state == ChunkState.PENDING)
            .values(parked=bindparam("to"))
        )
        self.set_limit = (
            update(limits)
            .where(limits.c.limit_key == bindparam("of"))
            .values(most=bindparam("to"), by_job=bindparam("by"), set_time=bindparam("at"))
        )
        self.count_slots = (
            update(limits)
            .where(limits.c.limit_key == bindparam("of"))
            .values(running=limits.c.running + bindparam("more"), waiting=limits.c.waiting + bindparam("longer"))
        )
        self._waiting: dict[int, Any] = {}

    def waiting(self, kinds: int) -> Any:  # noqa: ANN401  SQLAlchemy's name for it depends on the number of kinds
        """Return the claim of one or more kinds: each walks its own stretch of the index, and the best are merged."""
        if kinds not in self._waiting:
            places = (chunks.c.priority.desc(), chunks.c.create_time, chunks.c.job_key, chunks.c.chunk_index)
            walks = [
                select(chunks.c.priority, chunks.c.create_time, chunks.c.job_key, chunks.c.chunk_index)
                .where(
                    chunks.c.owner == bindparam("owner"),
                    chunks.c.kind == bindparam(f"kind_{n}"),
                    waiting,
                )
                .order_by(*places)
                .limit(bindparam("most"))
                for n in range(kinds)
            ]
            if kinds == 1:
                self._waiting[kinds] = walks[0]
            else:
                merged = union_all(*(select(walk.subquery()) for walk in walks)).subquery()
                best = (merged.c.priority.desc(), merged.c.create_time, merged.c.job_key, merged.c.chunk_index)
                self._waiting[kinds] = select(merged).order_by(*best).limit(bindparam("most"))
        return self._waiting[kinds]


class SqlTransaction:
    """The transaction of one batch."""

    def __init__(self, connection: Connection, dialect: Dialect, statements: Statements) -> None:
        self._connection = connection
        self._dialect = dialect
        self._statements = statements
        self._row_sets = RowSets(dialect)

    def claimable(self, demand: Demand) -> Candidates:
        """Return the most urgent chunks that wait, the oldest job first within a priority, of jobs that are free."""
        kinds = {f"kind_{n}": kind for n, kind in enumerate(demand.kinds)}
        found = self._connection.execute(
            self._statements.waiting(len(kinds)), {"owner": demand.owner, "most": self._look_at(demand), **kinds}
        )
        keys = [(job_key, index) for _, _, job_key, index in found]
        if not keys or not self._dialect.has_row_locks:
            return Candidates(keys)
        return Candidates(self._free(keys, demand.limit), contended=True)

    def _free(self, keys: Sequence[ChunkKey], limit: int) -> list[ChunkKey]:
        """Return the first chunks of jobs that no other replica holds, and lock these jobs, no more than are needed.

        Jobs that another replica holds are passed over. Waiting for them here, while jobs are held already, could end
        in a deadlock.
        """
        chosen: list[ChunkKey] = []
        tried: set[str] = set()
        free: set[str] = set()
        begin = 0
        while begin < len(keys) and len(chosen) < limit:
            some = keys[begin : begin + limit - len(chosen)]
            begin += len(some)
            if new := {job_key for job_key, _ in some} - tried:
                wanted = {"keys": self._dialect.key_values(new)}
                free.update(self._connection.execute(self._statements.lock_free, wanted).scalars())
                tried |= new
            chosen += [key for key in some if key[0] in free]
        return chosen

    def _look_at(self, demand: Demand) -> int:
        """Return how many chunks to look at: where others lock jobs too, more than are wanted, to pass some over."""
        return demand.limit * 2 + 100 if self._dialect.has_row_locks else demand.limit

    def jobs(self, keys: Iterable[str]) -> dict[str, Job]:
        """Return those that exist, locked in the order of their keys."""
        found = self._connection.execute(self._statements.jobs, {"keys": self._dialect.key_values(keys)})
        return {job.key: job for job in map(job_of, found)}

    def chunks(self, keys: Iterable[ChunkKey]) -> dict[ChunkKey, Chunk]:
        """Return those that exist, of jobs that are locked."""
        found = self._connection.execute(self._statements.chunks, self._dialect.chunk_key_values(sorted(keys)))
        return {(chunk.job_key, chunk.index): chunk for chunk in map(chunk_of, found)}

    def chunks_of(self, job_key: str) -> list[Chunk]:
        """Return all chunks of a locked job, by index."""
        return [chunk_of(row) for row in self._connection.execute(self._statements.chunks_of, {"key": job_key})]

    def requests(self, keys: Iterable[str]) -> dict[str, Request]:
        """Return the requests that took effect."""
        found = self._connection.execute(self._statements.requests, {"keys": self._dialect.key_values(keys)})
        return {key: Request(fingerprint, job_key) for key, fingerprint, job_key in found}

    def limits(self, keys: Iterable[str]) -> dict[str, Limit]:
        """Return those that were ever set, locked in the order of their keys."""
        if self._connection.execute(self._statements.any_limit).first() is None:
            return {}
        found = self._connection.execute(self._statements.limits, {"keys": self._dialect.key_values(keys)})
        return {limit.key: limit for limit in map(limit_of, found)}

    def runs(self, keys: Iterable[str]) -> dict[str, Run]:
        """Return, by job, the runs of those of the service's own jobs that are locked."""
        found = self._connection.execute(self._statements.runs, {"keys": self._dialect.key_values(keys)})
        return {key: run_of(row) for key, *row in found}

    def inputs(self, chunks: Iterable[ChunkKey]) -> dict[str, Inputs]:
        """Return, by job, the inputs of these chunks and of their jobs."""
        wanted = list(chunks)
        keys = {"keys": self._dialect.key_values({key for key, _ in wanted})}
        of_jobs: dict[str, bytes] = dict(self._connection.execute(self._statements.job_inputs, keys).tuples().all())
        of_chunks: dict[str, dict[int, bytes]] = {}
        found = self._connection.execute(self._statements.chunk_inputs, self._dialect.chunk_key_values(wanted))
        for key, index, raw in found:
            of_chunks.setdefault(key, {})[index] = raw
        return {key: Inputs(of_jobs.get(key), of_chunks.get(key, {})) for key in {*of_jobs, *of_chunks}}

    def save(self, writes: Writes, now: int) -> None:
        """Write all rows, jobs in the order of their keys, and last the tally, in the order of its keys."""
        run, statements = self._connection.execute, self._statements
        if writes.deleted_jobs:
            run(statements.delete_jobs, {"keys": self._dialect.key_values(writes.deleted_jobs)})
        self._insert(jobs, [new_job_row(job, inputs.job) for job, inputs in writes.new_jobs])
        self._update(jobs, [job_row(job) for job in writes.jobs])
        self._insert(chunks, [new_chunk_row(*new) for new in writes.new_chunks])
        self._update(chunks, [chunk_row(job, chunk) for job, chunk in writes.chunks])
        if writes.reprioritised:
            run(statements.reprioritise, [{"of": job.key, "to": job.priority} for job in writes.reprioritised])
        if writes.parked:
            parked = [{"of": job.key, "to": int(bool(job.parked_for))} for job in writes.parked]
            run(statements.park, parked)
        self._save_limits(writes)
        self._insert(requests, [_request_row(key, one, now) for key, one in writes.requests.items()])
        self._insert(job_words, [{"job_key": key, "words": words} for key, words in writes.new_words])
        self._update(job_words, [{"job_key": key, "words": words} for key, words in writes.words])
        self._row_sets.add(self._connection, counts, count_rows(writes.tally))
        self._row_sets.add(self._connection, rollups, rollup_rows(writes.tally))

    def _save_limits(self, writes: Writes) -> None:
        """Set limits, and count slots, in the order of their keys: their rows are locked after those of all jobs."""
        self._insert(limits, [limit_row(limit) for limit in sorted(writes.new_limits, key=lambda one: one.key)])
        if writes.limits:
            run, changed = self._connection.execute, sorted(writes.limits, key=lambda one: one.key)
            rows = [{"of": one.key, "to": one.most, "by": one.by_job, "at": one.set_time} for one in changed]
            run(self._statements.set_limit, rows)
        if writes.slots:
            counted = sorted(writes.slots.items())
            counts = [{"of": key, "more": more, "longer": longer} for key, (more, longer) in counted]
            self._connection.execute(self._statements.count_slots, counts)
        self._insert(runs, [run_row(key, NEW_RUN) for key in writes.new_runs])
        self._update(runs, [run_row(key, run) for key, run in writes.runs.items()])

    def _insert(self, table: Table, rows: Rows) -> None:
        self._row_sets.insert(self._connection, table, rows)

    def _update(self, table: Table, rows: Rows) -> None:
        self._row_sets.update(self._connection, table, rows)

    def append(self, records: Sequence[tuple[Record, Encoded]], seal: Seal) -> int:
        """Take positions, as the transaction's last lock, append the events, and return the first position."""
        taken = self._connection.execute(self._statements.take_positions, {"taken": len(records)}).scalar_one()
        first: int = taken - len(records) + 1
        rows = [
            {
                "position": position,
                "job_key": record.job.key,
                "commit_time": record.commit_time,
                "message": seal(encoded, position),
                "before": json_text(facts_diff(record.before, Facts.of(record.job))) if record.before else None,
                "previous": encoded.previous,
            }
            for position, (record, encoded) in enumerate(records, first)
        ]
        self._insert(events, rows)
        gone = [(position, record) for position, (record, _) in enumerate(records, first) if record.deleted]
        self._insert(tombstones, [_tombstone_row(position, record) for position, record in gone])
        self._dialect.announce(self._connection)
        return first


def _tombstone_row(position: int, record: Record) -> dict[str, object]:
    spec = record.job.spec
    return {
        "position": position,
        "owner": spec.owner,
        "create_time": spec.create_time,
        "job_key": spec.key,
        "delete_time": record.commit_time,
    }


def _request_row(key: str, request: Request, now: int) -> dict[str, object]:
    return {
        "request_key": key,
        "job_key": request.job_key,
        "fingerprint": request.fingerprint,
        "create_time": now,
    }


class SqlWriteStore:
    """The writing half of the store."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._statements = Statements(database.dialect)

    @property
    def single_writer(self) -> bool:
        """Whether no other process can write to this database."""
        return self._database.single_writer

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open a transaction that commits, durably, when the block ends without an error."""
        with self._database.write() as connection:
            yield SqlTransaction(connection, self._database.dialect, self._statements)
