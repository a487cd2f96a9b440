"""Reads and writes of all chunks of one job, each with one statement, whatever their number."""

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    Integer,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    select,
    update,
)

from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.rows.chunk_rows import CHUNK_COLUMNS, WHOLE_CHUNKS, chunk_of, read_current
from jobledger_service.core.database.tables import chunks
from jobledger_service.core.database.unreadable_rows import UnreadableRows
from jobledger_service.core.model.chunk import WHOLE, AttemptOutcome, Chunk, WorkError
from jobledger_service.core.model.holds import HoldReason
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.states import ChunkState
from jobledger_service.core.model.sweep import ChunkRange, Sweep, SweptChunks, Totals

_KEY: Final = chunks.c.job_key == bindparam("key")
_IN_WORK: Final = chunks.c.state == ChunkState.PROCESSING.value
_NOW: Final[BindParameter[int]] = bindparam("now", type_=BigInteger)
_WORK: Final = func.coalesce(
    chunks.c.finalizer_work, literal_column(str(WHOLE)) * func.coalesce(chunks.c.last_item - chunks.c.first_item + 1, 1)
)
# done × work / 1,000,000 rounded down, in 64 bits
_WORK_DONE: Final = chunks.c.done * (_WORK // WHOLE) + chunks.c.done * (_WORK % WHOLE) // WHOLE
_STAGE_TIME: Final = case((chunks.c.stage_time < _NOW, _NOW - chunks.c.stage_time), else_=0)
_FINALIZER_HELD: Final = case(
    (chunks.c.finalizer_work.is_not(None), bindparam("to_finalizer_held", type_=Integer)), else_=0
)
_TIME: Final[BindParameter[int]] = bindparam("time", type_=BigInteger)
_STOP: Final = {
    chunks.c.state: ChunkState.CANCELLED.value,
    chunks.c.end_time: _TIME,
    chunks.c.lease_expire_time: None,
    chunks.c.lease_check_time: None,
    chunks.c.next_attempt_time: None,
    chunks.c.held: 0,
    chunks.c.stage_time: None,
    chunks.c.outcome: case((_IN_WORK, AttemptOutcome.CANCELLED.value), else_=chunks.c.outcome),
    chunks.c.attempt_end_time: case((_IN_WORK, _TIME), else_=chunks.c.attempt_end_time),
}
_REQUEUE: Final = {
    chunks.c.state: ChunkState.PENDING.value,
    chunks.c.max_attempts: chunks.c.attempt + bindparam("attempts", type_=Integer),
    chunks.c.end_time: None,
    chunks.c.next_attempt_time: None,
    chunks.c.lease_expire_time: None,
    chunks.c.lease_check_time: None,
    chunks.c.priority: bindparam("to_priority", type_=Integer),
    chunks.c.held: bindparam("to_held", type_=Integer).bitwise_or(_FINALIZER_HELD),
}


class _Covered:
    """The statements about the chunks that a sweep covers: all in its states, or the named ones."""

    def __init__(self, condition: ColumnElement[bool]) -> None:
        run = chunks.c.chunk_index - func.row_number().over(order_by=chunks.c.chunk_index)
        runs = select(chunks.c.chunk_index.label("n"), run.label("run")).where(condition).subquery()
        self.rows = select(*CHUNK_COLUMNS).select_from(WHOLE_CHUNKS).where(condition)
        # In a run of indexes without a gap, an index less its place is the same for all.
        self.ends = select(func.min(runs.c.n).label("first"), func.max(runs.c.n)).group_by(runs.c.run).order_by("first")
        self.stop = update(chunks).where(condition).values(_STOP)
        self.requeue = update(chunks).where(condition).values(_REQUEUE)


class SweepStatements:
    """The statements about all chunks of a job, built once. Each goes by the primary key."""

    def __init__(self, dialect: Dialect) -> None:
        states = chunks.c.state.in_(bindparam("states", expanding=True))
        named = dialect.is_one_of(chunks.c.chunk_index, "indexes")
        left_out = dialect.is_one_of(chunks.c.chunk_index, "but")
        self.all = _Covered(and_(_KEY, states, ~left_out))
        self.named = _Covered(and_(_KEY, states, ~left_out, named))
        self.totals = (
            select(
                chunks.c.stage,
                chunks.c.stage_time.is_not(None).label("timed"),
                func.sum(_WORK_DONE),
                func.sum(chunks.c.items_completed),
                func.sum(_STAGE_TIME),
            )
            .where(_KEY, _IN_WORK, ~left_out)
            .group_by(chunks.c.stage, literal_column("timed"))
        )
        self.states = select(chunks.c.chunk_index, chunks.c.state).where(_KEY, named)
        self.first_error = (
            select(chunks.c.chunk_index, chunks.c.current)
            .where(_KEY, chunks.c.state == ChunkState.FAILED.value, ~left_out)
            .order_by(chunks.c.chunk_index)
            .limit(1)
        )


class JobSweeps:
    """Reads and changes the chunks of a locked job as a set."""

    def __init__(
        self, connection: Connection, dialect: Dialect, statements: SweepStatements, unreadable: UnreadableRows
    ) -> None:
        self.connection = connection
        self._dialect = dialect
        self._sweeps = statements
        self._unreadable = unreadable

    def covered(self, job_key: str, sweep: Sweep) -> list[Chunk]:
        """Return the readable chunks of a job that a sweep covers."""
        rows = self.connection.execute(self._of(sweep).rows, self._values(job_key, sweep, ()))
        bad: set[tuple[str, int]] = set()
        read = (self._unreadable.read("chunk", chunk_of, row, (row[0], row[1]), bad) for row in rows)
        return [chunk for chunk in read if chunk is not None]

    def ranges(self, job_key: str, sweep: Sweep, excluded: Collection[int]) -> list[ChunkRange]:
        """Return the ranges of chunks that a sweep covers, without the excluded ones, with their state after it."""
        ends = self.connection.execute(self._of(sweep).ends, self._values(job_key, sweep, excluded))
        return [ChunkRange(first, last, sweep.to) for first, last in ends]

    def totals(self, job_key: str, excluded: Collection[int], now: Micros) -> Totals:
        """Return the sums over the chunks of a job in PROCESSING, without the excluded ones."""
        work = items = 0
        times: dict[str, int] = {}
        values = {"key": job_key, "but": self._dialect.key_values(excluded), "now": now}
        for stage, timed, work_of_stage, items_of_stage, time in self.connection.execute(self._sweeps.totals, values):
            work += int(work_of_stage)
            items += int(items_of_stage)
            if timed:
                times[stage] = int(time)
        return Totals(work, items, times)

    def chunk_states(self, job_key: str, indexes: Collection[int]) -> dict[int, ChunkState]:
        """Return the states of those of these chunks that exist."""
        values = {"key": job_key, "indexes": self._dialect.key_values(indexes)}
        return {index: ChunkState(state) for index, state in self.connection.execute(self._sweeps.states, values)}

    def first_error(self, job_key: str, excluded: Collection[int]) -> tuple[int, WorkError | None] | None:
        """Return the index and the error of a job's first FAILED chunk that is not excluded, None without one."""
        values = {"key": job_key, "but": self._dialect.key_values(excluded)}
        row = self.connection.execute(self._sweeps.first_error, values).first()
        return None if row is None else (row[0], read_current(row[1]).error)

    def save_swept(self, swept: Sequence[tuple[Job, SweptChunks]]) -> None:
        """Write sweeps."""
        for job, rows in swept:
            sweep, values = rows.sweep, self._values(job.key, rows.sweep, rows.loaded)
            if sweep.to is ChunkState.PENDING:
                finalizer_held = HoldReason.FINALIZER.value if job.finalizer_waits else 0
                values |= waiting_values(job) | {"attempts": sweep.attempts, "to_finalizer_held": finalizer_held}
                self.connection.execute(self._of(sweep).requeue, values)
            else:
                self.connection.execute(self._of(sweep).stop, values | {"time": sweep.time})

    def _of(self, sweep: Sweep) -> _Covered:
        return self._sweeps.named if sweep.indexes else self._sweeps.all

    def _values(self, job_key: str, sweep: Sweep, excluded: Collection[int]) -> dict[str, object]:
        states = [state.value for state in sweep.moved]
        values = {"key": job_key, "states": states, "but": self._dialect.key_values(excluded)}
        return values | ({"indexes": self._dialect.key_values(sweep.indexes)} if sweep.indexes else {})


def waiting_values(job: Job) -> dict[str, int]:
    """Return the parameters of what waiting chunks have from their job."""
    return {"to_priority": job.priority, "to_held": job.held}
