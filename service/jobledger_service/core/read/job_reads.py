"""Jobs by key: keys, a view and a bound come in; the jobs that the bound allows go out, as they are stored."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from msgspec import Struct as MsgStruct
from msgspec.structs import replace
from sqlalchemy import (
    ColumnElement,
    Connection,
    LargeBinary,
    Select,
    and_,
    case,
    cast,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
)

from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.driver_statements import DriverStatement
from jobledger_service.core.database.rows.attempts import AttemptReads, attempts_size
from jobledger_service.core.database.rows.job_rows import (
    CHUNK_COUNT,
    MESSAGE_BYTES,
    SHOWN_BYTES,
    SHOWN_COLUMNS,
    WHOLE_JOBS,
    job_read,
)
from jobledger_service.core.database.rows.outputs import SHOWN_OUTPUT_BYTES, JobOutputs, select_chunks
from jobledger_service.core.database.rows.reads import JobRead, View
from jobledger_service.core.database.tables import artifact_versions, chunks, jobs, ledger, parked
from jobledger_service.core.database.unreadable_rows import UnreadableRows
from jobledger_service.core.model.bounds.limits import CHUNKS_IN_VIEW, MAX_REPLY_BYTES
from jobledger_service.core.model.bounds.slots import MAX_COUNTED_PLACE
from jobledger_service.core.model.job import Inputs

from .chunk_reads import ByteBudget, FetchedChunks, bounded, read_chunks

JOBS_IN_FIRST_READ: Final = 20
"""Jobs of the first statement at most, a page by default. The next statements read as many as seem to fit."""
MAX_SMALL_BYTES: Final = 16 * 1024
"""Bytes of a small job: its segments, its output, and its input in views that show it."""
MAX_SMALL_CHUNKS: Final = 100
"""Chunks of a job that is small in view FULL."""
MAX_CHUNKS_AT_ONCE: Final = 500
"""Chunks of several jobs that are read together."""
MAX_CHUNK_BYTES: Final = 512 * 1024
"""Bytes of the chunks of small jobs that are read together."""
MAX_HISTORIES: Final = 50
"""Small jobs with earlier attempts that are read together: the last ones of each may be 80 KiB."""
MAX_PLACES: Final = 20_000
"""Jobs that are counted for the places in a reply, which ends with the job that reaches this number."""

_WHOLE: Final = len(SHOWN_COLUMNS) + 3
_PLACE: Final = slice(_WHOLE, _WHOLE + 2)
_NO_BYTES: Final = cast(null(), LargeBinary)


class Bound(NamedTuple):
    """How much a read returns: `max_bytes`, but the first job in any case.

    A read of `small_only` jobs is one pass over few rows and bytes, whatever the keys are. It leaves larger jobs out
    like jobs that do not exist, and those whose chunks or attempts have no room beside those of others: each of them is
    read by itself.
    """

    max_bytes: int
    small_only: bool = False


REPLY: Final = Bound(MAX_REPLY_BYTES - 128 * 1024)
"""What fits into a reply, with room for the fields around it."""
NO_BOUND: Final = Bound(sys.maxsize)
SMALL: Final = Bound(sys.maxsize, small_only=True)


class JobsWithin(MsgStruct):
    """Jobs within a bound, by key; the keys of those that had no room, and of those that cannot be read."""

    jobs: dict[str, JobRead] = {}
    unread: Sequence[str] = ()
    bad: set[str] = set()
    place: tuple[int, int] | None = None
    """The position of the ledger and its present term, where a row has them."""

    def before(self, key: str, keys: Sequence[str]) -> "JobsWithin":
        """Return what was read of `keys` before one of them; that one and all later ones are unread."""
        unread = keys[keys.index(key) :]
        left_out = set(unread)
        read = {job.key: job for job in self.jobs.values() if job.key not in left_out}
        return JobsWithin(read, unread, self.bad - left_out)


class JobReads:
    """Reads jobs by key, in an order, up to a bound."""

    def __init__(self, dialect: Dialect, unreadable: UnreadableRows, attempts: AttemptReads) -> None:
        self._dialect = dialect
        self._unreadable = unreadable
        self._attempts = attempts
        self._outputs = JobOutputs(dialect)
        named = jobs.c.job_key.in_(dialect.keys())
        self._jobs = {
            (view, small_only): DriverStatement(_select_jobs(view, small_only=small_only).where(named))
            for view in View
            for small_only in (False, True)
        }
        large = select(jobs.c.job_key, artifact_versions.c.encoded, jobs.c.input).select_from(WHOLE_JOBS)
        self._large = DriverStatement(large.where(named))
        first_chunks = chunks.c.job_key.in_(dialect.keys()), chunks.c.chunk_index < CHUNKS_IN_VIEW
        order = chunks.c.job_key, chunks.c.chunk_index
        self._chunks = {
            with_outputs: bounded(
                dialect, select_chunks(with_outputs=with_outputs).where(*first_chunks).order_by(*order)
            )
            for with_outputs in (False, True)
        }

    def read(
        self, connection: Connection, keys: Sequence[str], view: View, bound: Bound, *, with_outputs: bool = False
    ) -> JobsWithin:
        """Return the existing jobs: in DETAIL with inputs, in FULL also with first chunks, in STATUS without artifacts.

        Outputs are in all views but STATUS, if they are requested.
        """
        within, budget = JobsWithin(), ByteBudget(bound.max_bytes)
        with_outputs &= view is not View.STATUS
        begin, count = 0, len(keys) if bound.small_only else JOBS_IN_FIRST_READ
        while begin < len(keys):
            part = keys[begin : begin + count]
            stored = self._stored(connection, part, view, bound, within)
            if with_outputs:
                stored = [replace(job, size=job.size + job.output_bytes) if job.output_bytes else job for job in stored]
            fitting = self._whole(connection, _fitting(stored, budget.remaining), view, with_outputs=with_outputs)
            if view is not View.FULL:
                shown = _taken(fitting, budget, within)
            elif bound.small_only:
                shown = self._with_few_chunks(connection, fitting, within, with_outputs=with_outputs)
            else:
                shown = self._with_chunks(connection, fitting, budget, within, with_outputs=with_outputs)
            for job in shown:
                within.jobs[job.key] = job
            left_out = (job.key for job in stored if job.key not in within.jobs and job.key not in within.bad)
            if not bound.small_only and (first := next(left_out, None)):
                within = within.before(first, keys)
                break
            begin += len(part)
            average = max(1, sum(job.size for job in stored) // max(1, len(stored)))
            count = max(1, min(4 * count, budget.remaining // average))
        return self._with_attempts(connection, within, keys, budget, bound) if view is View.FULL else within

    def _stored(
        self, connection: Connection, keys: Sequence[str], view: View, bound: Bound, within: JobsWithin
    ) -> list[JobRead]:
        """Return jobs in the order of `keys`; the artifacts and the input of large ones are still to be read."""
        rows = self._jobs[view, bound.small_only].rows(connection, self._values(keys))
        if rows and bound.small_only:
            within.place = rows[0][_PLACE]
        read = (self._unreadable.read("job", job_read, row, row[0], within.bad) for row in rows)
        by_key = {job.key: job for job in read if job is not None}
        ordered = [by_key[key] for key in keys if key in by_key]
        return ordered if view is not View.STATUS else [replace(job, size=len(job.message)) for job in ordered]

    def _whole(
        self, connection: Connection, ordered: Sequence[JobRead], view: View, *, with_outputs: bool
    ) -> Sequence[JobRead]:
        """Return jobs with all that their view shows but chunks."""
        large: Sequence[str] = ()
        if view is not View.STATUS:
            large = [job.key for job in ordered if job.size - job.output_bytes * with_outputs > MAX_SMALL_BYTES]
        if large:
            parts = {
                key: (artifacts, input_) for key, artifacts, input_ in self._large.rows(connection, self._values(large))
            }
            ordered = [_completed(job, *parts[job.key], view) if job.key in parts else job for job in ordered]
        return self._outputs.added(connection, ordered) if with_outputs else ordered

    def _with_few_chunks(
        self, connection: Connection, ordered: Sequence[JobRead], within: JobsWithin, *, with_outputs: bool
    ) -> Iterator[JobRead]:
        """Yield the first jobs, as many as have MAX_CHUNKS_AT_ONCE together, with their chunks; the rest is unread."""
        groups = _groups(ordered)
        group = next(groups, [])
        within.unread = [job.key for later in groups for job in later]
        read = self._chunks_of(connection, group, ByteBudget(MAX_CHUNK_BYTES), with_outputs=with_outputs)
        within.bad.update(key for key, _ in read.bad)
        shown = (_shown(job, read) for job in group if job.key not in within.bad)
        yield from (job for job in shown if not job.more_chunks)

    def _with_chunks(
        self,
        connection: Connection,
        ordered: Sequence[JobRead],
        budget: ByteBudget,
        within: JobsWithin,
        *,
        with_outputs: bool,
    ) -> Iterator[JobRead]:
        """Yield jobs with their chunks until the budget is spent; a job with an unreadable chunk is bad.

        `within` has jobs that were read before.
        """
        for group in _groups(ordered):
            remaining = budget.remaining
            if all(budget.take(job.size) for job in group):
                read = self._chunks_of(connection, group, budget, with_outputs=with_outputs)
                if read.complete:
                    within.bad.update(key for key, _ in read.bad)
                    yield from (_shown(job, read) for job in group if job.key not in within.bad)
                    continue
            budget.remaining = remaining
            for job in group:
                if not budget.take(job.size) and within.jobs:
                    return
                read = self._chunks_of(connection, [job], budget, with_outputs=with_outputs)
                if not read.complete and within.jobs:
                    return
                if read.bad:
                    within.bad.add(job.key)
                else:
                    yield _shown(job, read)

    def _chunks_of(
        self, connection: Connection, group: Sequence[JobRead], budget: ByteBudget, *, with_outputs: bool
    ) -> FetchedChunks:
        if not group:
            return FetchedChunks()
        statement = self._chunks[with_outputs and any(job.chunks_completed for job in group)]
        return read_chunks(connection, statement, self._values([job.key for job in group]), budget, self._unreadable)

    def _with_attempts(
        self, connection: Connection, within: JobsWithin, keys: Sequence[str], budget: ByteBudget, bound: Bound
    ) -> JobsWithin:
        """Return jobs with their last attempts and their places, as far as these are within the bound too."""
        read: Iterable[JobRead] = list(within.jobs.values())
        if bound.small_only:
            read = _with_few_histories(read)
        within.jobs, counted = {}, 0
        for job in self._attempts.added(connection, read):
            fits = bound.small_only or budget.take(attempts_size(job.attempts)) or not within.jobs
            if not fits or (job.parked_for and counted >= MAX_PLACES):
                return within.before(job.key, keys)
            place = _place(connection, job) if job.parked_for else None
            within.jobs[job.key] = replace(job, place=place) if place else job
            counted += place or 0
        return within

    def _values(self, keys: Sequence[str]) -> dict[str, object]:
        return {"keys": self._dialect.key_values(keys)}


def _select_jobs(view: View, *, small_only: bool) -> Select[Any]:
    """Return a read of rows for `job_read`, those of small jobs with all that the view shows, then _PLACE if so."""
    size: ColumnElement[int] = MESSAGE_BYTES if view is View.STATUS else SHOWN_BYTES
    artifacts: ColumnElement[Any] = _NO_BYTES if view is View.STATUS else artifact_versions.c.encoded
    input_: ColumnElement[Any] = _NO_BYTES
    input_bytes: ColumnElement[int] = literal_column("0")
    if view.has_input:
        input_, input_bytes = jobs.c.input, func.coalesce(func.length(jobs.c.input), literal_column("0"))
        size += input_bytes
    if not small_only:
        is_small = size <= MAX_SMALL_BYTES
        artifacts, input_ = case((is_small, artifacts)), case((is_small, input_))
        return select(*SHOWN_COLUMNS, artifacts, input_, input_bytes).select_from(WHOLE_JOBS)
    place = [select(column).scalar_subquery() for column in (ledger.c.position, ledger.c.term)]
    small = select(*SHOWN_COLUMNS, artifacts, input_, input_bytes, *place).select_from(WHOLE_JOBS)
    small = small.where(size + SHOWN_OUTPUT_BYTES <= MAX_SMALL_BYTES)
    # the place of one that waits for a slot is counted
    return small.where(CHUNK_COUNT <= MAX_SMALL_CHUNKS, ~parked) if view is View.FULL else small


def _completed(job: JobRead, artifacts: bytes | None, input_: bytes | None, view: View) -> JobRead:
    """Return a large job with its artifacts, and in views that show it with its input."""
    inputs = Inputs(input_) if view.has_input else job.inputs
    return replace(job, message=job.message + artifacts if artifacts else job.message, inputs=inputs)


def _fitting(ordered: Sequence[JobRead], room: int) -> Sequence[JobRead]:
    """Return the first jobs that fit, and the first in any case."""
    for count, job in enumerate(ordered):
        room -= job.size
        if count and room < 0:
            return ordered[:count]
    return ordered


def _taken(ordered: Sequence[JobRead], budget: ByteBudget, within: JobsWithin) -> Iterator[JobRead]:
    """Yield jobs until the budget is spent; `within` has jobs that were read before."""
    for job in ordered:
        if not budget.take(job.size) and within.jobs:
            return
        yield job


def _groups(ordered: Sequence[JobRead]) -> Iterator[list[JobRead]]:
    """Yield jobs whose chunks are read together: few, or those of one job."""
    group: list[JobRead] = []
    count = 0
    for job in ordered:
        shown = min(job.chunk_count, CHUNKS_IN_VIEW)
        if group and count + shown > MAX_CHUNKS_AT_ONCE:
            yield group
            group, count = [], 0
        group.append(job)
        count += shown
    if group:
        yield group


def _shown(job: JobRead, read: FetchedChunks) -> JobRead:
    shown = read.of_job.get(job.key, [])
    return replace(
        job,
        inputs=replace(job.inputs, chunks=read.inputs.get(job.key, {})),
        outputs=replace(job.outputs, chunks=read.outputs.get(job.key, {})),
        chunks=shown,
        more_chunks=len(shown) < job.chunk_count,
    )


def _with_few_histories(ordered: Iterable[JobRead]) -> Iterator[JobRead]:
    """Yield jobs, without those with earlier attempts beyond MAX_HISTORIES."""
    count = 0
    for job in ordered:
        has_earlier = any(chunk.attempt_number > 1 for chunk in job.chunks)
        count += has_earlier
        if count <= MAX_HISTORIES or not has_earlier:
            yield job


def _place(connection: Connection, job: JobRead) -> int:
    """Return a parked job's place among those that wait for the same limit."""
    older = or_(
        jobs.c.create_time < job.create_time,
        and_(jobs.c.create_time == job.create_time, jobs.c.job_key < job.key),
    )
    ahead = or_(jobs.c.priority > job.priority, and_(jobs.c.priority == job.priority, older))
    counted = select(literal(1)).where(jobs.c.parked_for == job.parked_for, parked, ahead).limit(MAX_COUNTED_PLACE - 1)
    return connection.execute(select(func.count()).select_from(counted.subquery())).scalar_one() + 1
