"""What is read of all chunks of one job, and written to them, by one statement each, however many they are."""

from collections.abc import Collection, Sequence
from typing import Any, Final

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
    true,
    update,
)

from jobledger_service.domain.chunk import Artifacts, Chunk, LeaseEnd, WorkError
from jobledger_service.domain.job import Job
from jobledger_service.domain.states import ChunkState
from jobledger_service.domain.sweep import Sweep, Totals
from jobledger_service.ledger.entry import ChunkRange
from jobledger_service.ledger.write_ports import SweptRows

from .cells import artifacts_of, error_of
from .chunk_rows import CHUNK_COLUMNS, chunk_of
from .tables import chunks

_KEY: Final = chunks.c.job_key == bindparam("key")
_IN_WORK: Final = chunks.c.state == ChunkState.PROCESSING.value
_NOW: Final[BindParameter[int]] = bindparam("now", type_=BigInteger)


def _among(name: str) -> ColumnElement[bool]:
    return chunks.c.chunk_index.in_(bindparam(name, type_=Integer, expanding=True))


_NOT_BUT: Final = ~_among("but")

# All of a job's chunks are few enough to be looked through, and each of these is in the order of the primary key.
_COVERED: Final = and_(_KEY, chunks.c.state.in_(bindparam("states", expanding=True)))
_PLACE: Final = func.row_number().over(order_by=chunks.c.chunk_index)
_ITEMS: Final = func.coalesce(chunks.c.last_item - chunks.c.first_item + 1, 1)
_STAGE_TIME: Final = case((chunks.c.stage_time < _NOW, _NOW - chunks.c.stage_time), else_=0)
_TOTALS: Final = (
    select(
        chunks.c.stage,
        chunks.c.stage_time.is_not(None).label("timed"),
        func.sum(chunks.c.done * _ITEMS),
        func.sum(chunks.c.items_completed),
        func.sum(_STAGE_TIME),
    )
    .where(_KEY, _IN_WORK, _NOT_BUT)
    .group_by(chunks.c.stage, literal_column("timed"))
)
_STATES: Final = select(chunks.c.chunk_index, chunks.c.state).where(_KEY, _among("indexes"))
_FIRST_ERROR: Final = (
    select(chunks.c.chunk_index, chunks.c.error)
    .where(_KEY, chunks.c.state == ChunkState.FAILED.value, _NOT_BUT)
    .order_by(chunks.c.chunk_index)
    .limit(1)
)
_ARTIFACTS: Final = select(chunks.c.chunk_index, chunks.c.artifacts).where(_KEY, chunks.c.artifacts.is_not(None))
_STOP: Final = {
    chunks.c.state: ChunkState.CANCELLED.value,
    chunks.c.end_time: bindparam("time", type_=BigInteger),
    chunks.c.lease_expire_time: None,
    chunks.c.not_before: None,
    chunks.c.stage_time: None,
    chunks.c.lease_end: case((_IN_WORK, LeaseEnd.TAKEN.value), else_=chunks.c.lease_end),
}
_AGAIN: Final = {
    chunks.c.state: ChunkState.PENDING.value,
    chunks.c.max_attempts: chunks.c.attempt + bindparam("attempts", type_=Integer),
    chunks.c.end_time: None,
    chunks.c.not_before: None,
    chunks.c.lease_expire_time: None,
    chunks.c.priority: bindparam("to_priority", type_=Integer),
    chunks.c.parked: bindparam("to_parked", type_=Integer),
}


class JobSweeps:
    """Reads and changes the chunks of a locked job as a set."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def covered(self, job_key: str, sweep: Sweep) -> list[Chunk]:
        """Return the chunks of a job that a sweep covers."""
        condition, values = _condition(job_key, sweep, ())
        rows = self._connection.execute(select(*CHUNK_COLUMNS).where(condition), values)
        return [chunk_of(row) for row in rows]

    def ranges(self, job_key: str, sweep: Sweep, but: Collection[int]) -> list[ChunkRange]:
        """Return which chunks of a job a sweep covers, but for some, as they are after it, by index.

        In a run of indexes without a gap, an index less its place is the same for all.
        """
        condition, values = _condition(job_key, sweep, but)
        run = chunks.c.chunk_index - _PLACE
        found = select(chunks.c.chunk_index.label("n"), run.label("run")).where(condition).subquery()
        ends = select(func.min(found.c.n).label("first"), func.max(found.c.n)).group_by(found.c.run).order_by("first")
        return [ChunkRange(first, last, sweep.to) for first, last in self._connection.execute(ends, values)]

    def totals(self, job_key: str, but: Collection[int], now: int) -> Totals:
        """Return what the chunks of a job that are in PROCESSING add up to, but for some."""
        work = items = 0
        times: dict[str, int] = {}
        found = self._connection.execute(_TOTALS, {"key": job_key, "but": list(but), "now": now})
        for stage, timed, work_of_stage, items_of_stage, time in found:
            work += int(work_of_stage)
            items += int(items_of_stage)
            if timed:
                times[stage] = int(time)
        return Totals(work, items, times)

    def states(self, job_key: str, indexes: Collection[int]) -> dict[int, ChunkState]:
        """Return the states of those of these chunks that exist."""
        found = self._connection.execute(_STATES, {"key": job_key, "indexes": list(indexes)})
        return {index: ChunkState(state) for index, state in found}

    def first_error(self, job_key: str, but: Collection[int]) -> tuple[int, WorkError | None] | None:
        """Return the index and the error of a job's first FAILED chunk, but for some; None for none."""
        found = self._connection.execute(_FIRST_ERROR, {"key": job_key, "but": list(but)}).first()
        return None if found is None else (found[0], error_of(found[1]))

    def artifacts(self, job_key: str) -> dict[int, Artifacts]:
        """Return the artifacts of the chunks of a job that have some, by index."""
        found = self._connection.execute(_ARTIFACTS, {"key": job_key})
        return {index: artifacts_of(text) for index, text in found}

    def save(self, swept: Sequence[tuple[Job, SweptRows]]) -> None:
        """Carry sweeps out."""
        for job, rows in swept:
            sweep = rows.sweep
            condition, values = _condition(job.key, sweep, rows.loaded)
            if sweep.to is ChunkState.PENDING:
                values |= {
                    "attempts": sweep.attempts,
                    "to_priority": job.priority,
                    "to_parked": int(bool(job.parked_for)),
                }
                self._connection.execute(update(chunks).where(condition).values(_AGAIN), values)
            else:
                self._connection.execute(update(chunks).where(condition).values(_STOP), values | {"time": sweep.time})


def _condition(job_key: str, sweep: Sweep, but: Collection[int]) -> tuple[ColumnElement[bool], dict[str, Any]]:
    """Return the condition of the chunks that a sweep covers, but for some, and its parameters."""
    states = [state.value for state in sweep.moved]
    values: dict[str, Any] = {"key": job_key, "states": states, "but": list(but), "indexes": list(sweep.indexes)}
    named = _among("indexes") if sweep.indexes else true()
    left_out = _NOT_BUT if but else true()
    return and_(_COVERED, named, left_out), values
