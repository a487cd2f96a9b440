"""Attempts at chunks: the latest is read from its chunk, and earlier ones from a table of their own."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, Final

from msgspec import msgpack
from msgspec.structs import replace
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    Select,
    Text,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    tuple_,
    union_all,
)

from jobledger_service.core.database.cells import Row
from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.tables import attempts, chunks, had_task, has_task, jobs
from jobledger_service.core.database.unreadable_rows import UnreadableRows
from jobledger_service.core.model.attempts import LAST_ATTEMPTS, Attempt, error_of, last_attempts, max_kept_attempts
from jobledger_service.core.model.chunk import AttemptOutcome, Chunk
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.states import ChunkState

from .chunk_rows import read_current
from .reads import AttemptPlace, AttemptsRead, AttemptsWanted, JobRead

_NAMES: Final = ("chunk_index", "attempt_number", "outcome", "task_id", "worker", "attempt_end_time", "current")
_ORDER: Final[list[ColumnElement[Any]]] = [literal_column("chunk_index"), literal_column("attempt_number")]
_ROW_BYTES: Final = 100
"""Bytes of an attempt in a reply, beside its body, its task's id and its worker."""
_JOBS_AT_ONCE: Final = 50
"""Jobs whose last attempts are read together."""

_OF_TASK: Final = (
    select(chunks.c.job_key)
    .where(has_task, chunks.c.owner == bindparam("owner"), chunks.c.task_id == bindparam("task_id", type_=Text))
    .limit(bindparam("limit", type_=Integer)),
    # The character after the slash, with which keys of this owner begin, is 0.
    select(attempts.c.job_key)
    .where(
        had_task,
        attempts.c.task_id == bindparam("task_id", type_=Text),
        attempts.c.job_key > bindparam("first", type_=Text),
        attempts.c.job_key < bindparam("last", type_=Text),
    )
    .limit(bindparam("limit", type_=Integer)),
)

_PACKED: Final = msgpack.Encoder()


def dropped_attempts(job: Job, chunk: Chunk) -> Iterator[Row]:
    """Yield the key of the attempt that is dropped when this one of the same chunk is kept."""
    number = chunk.attempt_number - max_kept_attempts(job.counts.total)
    if number > 0:
        yield {"job_key": chunk.job_key, "chunk_index": chunk.index, "attempt_number": number}


def has_had_task() -> ColumnElement[bool]:
    """Return the condition that a chunk of a job has, or had, the task of the parameter `task_id`."""
    named = bindparam("task_id", type_=Text)
    # Nothing is selected but what the indexes have: SQLite would else go through the chunks of each job.
    now = select(chunks.c.job_key).where(
        has_task, chunks.c.owner == jobs.c.owner, chunks.c.task_id == named, chunks.c.job_key == jobs.c.job_key
    )
    before = select(attempts.c.job_key).where(
        had_task, attempts.c.task_id == named, attempts.c.job_key == jobs.c.job_key
    )
    return or_(now.correlate(jobs).exists(), before.correlate(jobs).exists())


def jobs_of_task(connection: Connection, owner: str, task_id: str, limit: int) -> list[str]:
    """Return the keys of the owner's jobs that have or had a task; one may be there several times."""
    values = {"owner": owner, "task_id": task_id, "first": f"{owner}/", "last": f"{owner}0", "limit": limit}
    return [key for arm in _OF_TASK for key in connection.execute(arm, values).scalars()]


class AttemptReads:
    """Reads attempts; one that cannot be read is set aside."""

    def __init__(self, dialect: Dialect, unreadable: UnreadableRows) -> None:
        self._unreadable = unreadable
        self._dialect = dialect

    @cached_property
    def _pages(self) -> dict[tuple[bool, bool], Select[Any]]:
        """The statements of pages by their conditions: of one chunk, and of one task."""
        of_chunks = or_(chunks.c.state == ChunkState.PROCESSING.value, chunks.c.outcome.is_not(None))
        return {
            (of_chunk, of_task): _page(
                self._dialect,
                _arm(chunks, of_chunks, of_chunk=of_chunk, of_task=of_task),
                _arm(attempts, of_chunk=of_chunk, of_task=of_task),
            )
            for of_chunk in (False, True)
            for of_task in (False, True)
        }

    @cached_property
    def _last(self) -> Select[Any]:
        last = select(attempts.c.job_key, *_columns(attempts)).order_by(attempts.c.attempt_end_time.desc())
        return self._dialect.first_of_each(last.limit(LAST_ATTEMPTS), attempts.c.job_key)

    def page(self, connection: Connection, query: AttemptsWanted, room: int) -> AttemptsRead:
        """Return the attempts after a place, as many as fit into `room` bytes: at least one, if there is one."""
        values = {
            "key": query.job_key,
            "index": query.chunk_index,
            "task_id": query.task_id,
            "after_index": query.after.chunk_index,
            "after_number": query.after.number,
            "limit": query.limit + 1,
            "skip": 0,
            "room": room,
        }
        rows = connection.execute(self._pages[query.chunk_index is not None, bool(query.task_id)], values).all()
        shown = rows[: query.limit]
        bad: set[tuple[str, int]] = set()
        readable = self._read(query.job_key, [row[:-2] for row in shown], bad)
        last = AttemptPlace(*shown[-1][:2]) if shown else query.after
        more = bool(rows) and rows[0].row_count > len(shown)
        return AttemptsRead(readable, last, more, sorted(index for _, index in bad))

    def added(self, connection: Connection, jobs: Iterable[JobRead]) -> Iterator[JobRead]:
        """Yield jobs in view FULL with their last attempts, which are a statement for each 50 of them."""
        remaining = iter(jobs)
        while batch := list(islice(remaining, _JOBS_AT_ONCE)):
            # an earlier attempt may also be one at a chunk that was not read
            keys = [job.key for job in batch if job.more_chunks or any(c.attempt_number > 1 for c in job.chunks)]
            earlier: dict[str, list[Sequence[Any]]] = {}
            for key, *row in connection.execute(self._last, {"keys": self._dialect.key_values(keys)}) if keys else ():
                earlier.setdefault(key, []).append(row)
            for job in batch:
                earlier_attempts = self._read(job.key, earlier.get(job.key, ()), set())
                yield replace(job, attempts=last_attempts(job.chunks, earlier_attempts))

    def _read(self, job_key: str, rows: Sequence[Sequence[Any]], bad: set[tuple[str, int]]) -> list[Attempt]:
        read = (self._unreadable.read("attempt", _attempt, row, (job_key, row[0]), bad) for row in rows)
        return [attempt for attempt in read if attempt is not None]


def attempts_size(shown: Sequence[Attempt]) -> int:
    """Return the bytes of attempts in a reply, at most."""
    return len(_PACKED.encode(shown))


def _columns(table: FromClause) -> list[ColumnElement[Any]]:
    return [table.c[name] for name in _NAMES]


def _arm(table: FromClause, *conditions: ColumnElement[bool], of_chunk: bool, of_task: bool) -> Select[Any]:
    """Return the attempts of a job that are in a table, after a place."""
    place = tuple_(table.c.chunk_index, table.c.attempt_number)
    after = tuple_(bindparam("after_index", type_=BigInteger), bindparam("after_number", type_=BigInteger))
    arm = select(*_columns(table)).where(table.c.job_key == bindparam("key"), place > after, *conditions)
    if of_chunk:
        arm = arm.where(table.c.chunk_index == bindparam("index", type_=BigInteger))
    return arm.where(table.c.task_id == bindparam("task_id", type_=Text)) if of_task else arm


def _page(dialect: Dialect, *arms: Select[Any]) -> Select[Any]:
    """Return the first `limit` attempts of these arms, in order, up to the one that fills `room` bytes.

    The last two columns of each row are the bytes before it, and the number of all attempts that were found.
    """
    merged = union_all(*(dialect.merged_walk(arm, _ORDER) for arm in arms))
    first = merged.order_by(*_ORDER).limit(bindparam("limit", type_=Integer)).subquery()
    size = func.length(first.c.current) + 4 * func.length(first.c.task_id + first.c.worker) + _ROW_BYTES
    order = (first.c.chunk_index, first.c.attempt_number)
    measured = select(
        first,
        (func.sum(size).over(order_by=order) - size).label("bytes_before"),
        func.count().over().label("row_count"),
    ).subquery()
    return (
        select(measured)
        .where(measured.c.bytes_before < bindparam("room", type_=BigInteger))
        .order_by(measured.c.chunk_index, measured.c.attempt_number)
    )


def _attempt(row: Sequence[Any]) -> Attempt:
    index, number, ended, task_id, worker, end_time, current = row
    outcome, kept = None if ended is None else AttemptOutcome(ended), read_current(current)
    error = error_of(outcome, kept.error)
    return Attempt(index, number, worker, task_id, kept.start_time, end_time, outcome, error)
