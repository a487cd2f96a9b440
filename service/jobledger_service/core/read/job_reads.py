"""Jobs and chunks up to a number of bytes: what does not fit into a reply is not read."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import Struct as MsgStruct
from msgspec.structs import replace
from sqlalchemy import BigInteger, Connection, Select, bindparam, func, select

from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.driver_statements import DriverStatement
from jobledger_service.core.database.rows.chunk_rows import CHUNK_COLUMNS, chunk_of
from jobledger_service.core.database.rows.job_rows import SHOWN_COLUMNS, WHOLE_JOBS, job_read
from jobledger_service.core.database.rows.outputs import JobOutputs, select_chunks
from jobledger_service.core.database.rows.reads import JobRead, View
from jobledger_service.core.database.tables import artifact_versions, chunks, jobs
from jobledger_service.core.database.unreadable_rows import UnreadableRows
from jobledger_service.core.model.bounds.limits import CHUNKS_IN_VIEW
from jobledger_service.core.model.chunk import Chunk
from jobledger_service.core.model.job import Inputs

FIRST_JOBS: Final = 20
"""Jobs of the first statement at most, a page by default. The next statements read as many as seem to fit."""
CHUNKS_PER_GROUP: Final = 200
"""Chunks of several jobs that are read together."""
CHUNK_OVERHEAD_BYTES: Final = 400
"""Bytes of a chunk, encoded, beside its texts; what its parts have in JSON is about as long as they are encoded."""

_WIDE: Final = frozenset(["current", "content", "stage", "task_id", "worker"])
"""Columns of chunks with texts and bodies that may be long."""
_WIDE_PLACES: Final = [index for index, column in enumerate(CHUNK_COLUMNS) if column.name in _WIDE]


class ByteBudget:
    """The remaining bytes of a reply."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, size: int) -> bool:
        """Take bytes; return False, and take nothing, when there are too few."""
        if size > self.left:
            return False
        self.left -= size
        return True


class JobsWithin(MsgStruct):
    """Jobs that fit into a reply, by key; the keys of those that do not, and of those that cannot be read."""

    jobs: dict[str, JobRead] = {}
    unread: Sequence[str] = ()
    bad: set[str] = set()
    place: tuple[int, int] | None = None
    """The position of the ledger and its present term, where a row has them."""

    def before(self, key: str, keys: Sequence[str]) -> "JobsWithin":
        """Return what was read of `keys` before one of them; that one and all later ones are unread."""
        unread = keys[keys.index(key) :]
        left_out = set(unread)
        jobs = {one: read for one, read in self.jobs.items() if one not in left_out}
        return JobsWithin(jobs, unread, self.bad - left_out)


class Chunks(MsgStruct):
    """The chunks of some jobs, and their inputs and outputs; `complete` unless there was no room for all.

    `bad` are the jobs and the indexes of chunks that cannot be read.
    """

    of_job: dict[str, list[Chunk]] = {}
    inputs: dict[str, dict[int, bytes]] = {}
    outputs: dict[str, dict[int, bytes]] = {}
    size: dict[str, int] = {}
    complete: bool = True
    bad: set[tuple[str, int]] = set()


def bounded(dialect: Dialect, wanted: Select[Any]) -> DriverStatement:
    """Return a read of chunks in order as one that ends, on PostgreSQL, with the chunk that fills `byte_budget` bytes.

    SQLite needs no end: its rows are read as they are asked for, and `read_chunks` asks for no more.
    """
    if not dialect.has_row_locks:
        return DriverStatement(wanted)
    one = wanted.subquery()
    order = (one.c.job_key, one.c.chunk_index)
    size = sum(func.coalesce(func.octet_length(column), 0) for column in (one.c.input, one.c.output, one.c.content))
    read = select(one, (func.sum(size).over(order_by=order) - size).label("bytes_before")).subquery()
    shown = [column for column in read.c if column.name != "bytes_before"]
    within = select(*shown).where(read.c.bytes_before <= bindparam("room", type_=BigInteger))
    return DriverStatement(within.order_by(read.c.job_key, read.c.chunk_index))


def read_chunks(
    connection: Connection,
    wanted: DriverStatement,
    values: dict[str, object],
    budget: ByteBudget,
    unreadable: UnreadableRows,
) -> Chunks:
    """Return chunks, of `select_chunks`, until the reply is full."""
    read = Chunks()

    def fetch(cursor: Any) -> Chunks:  # noqa: ANN401  the driver's
        for *row, raw, output in cursor:
            measured = unreadable.read("chunk", _measured_chunk, row, (row[0], row[1]), read.bad)
            if measured is None:
                continue
            chunk, size = measured
            size += len(raw or b"") + len(output or b"")
            if not budget.take(size):
                read.complete = False
                break
            read.of_job.setdefault(chunk.job_key, []).append(chunk)
            read.size[chunk.job_key] = read.size.get(chunk.job_key, 0) + size
            if raw is not None:
                read.inputs.setdefault(chunk.job_key, {})[chunk.index] = raw
            if output is not None:
                read.outputs.setdefault(chunk.job_key, {})[chunk.index] = output
        return read

    return wanted.fetch(connection, values | {"room": budget.left}, fetch)


class JobReads:
    """Reads jobs by key, in an order, until a reply is full; the first job is always read."""

    def __init__(self, dialect: Dialect, unreadable: UnreadableRows) -> None:
        keys = dialect.keys()
        self._unreadable = unreadable
        self._dialect = dialect
        of_jobs = jobs.c.job_key.in_(keys)
        self._jobs = DriverStatement(select(*SHOWN_COLUMNS).select_from(WHOLE_JOBS).where(of_jobs))
        artifacts = select(jobs.c.job_key, artifact_versions.c.encoded).select_from(WHOLE_JOBS).where(of_jobs)
        self._artifacts = DriverStatement(artifacts)
        self._inputs = DriverStatement(select(jobs.c.job_key, jobs.c.input).where(of_jobs, jobs.c.input.is_not(None)))
        self._outputs = JobOutputs(dialect)
        first_chunks = chunks.c.job_key.in_(keys), chunks.c.chunk_index < CHUNKS_IN_VIEW
        order = chunks.c.job_key, chunks.c.chunk_index
        self._chunks = {
            some: bounded(dialect, select_chunks(with_outputs=some).where(*first_chunks).order_by(*order))
            for some in (False, True)
        }

    def read(
        self,
        connection: Connection,
        keys: Sequence[str],
        byte_budget: ByteBudget,
        view: View,
        *,
        with_outputs: bool = False,
    ) -> JobsWithin:
        """Return the existing jobs: in DETAIL with inputs, in FULL also with first chunks, in STATUS without artifacts.

        Outputs are in all views but STATUS, if they are wanted.
        """
        within = JobsWithin()
        with_outputs &= view is not View.STATUS
        begin, size = 0, FIRST_JOBS
        while begin < len(keys):
            part = keys[begin : begin + size]
            rows = self._jobs.rows(connection, {"keys": self._dialect.key_values(part)})
            there = {one.key: one for row in rows if (one := self._job(row, within.bad)) is not None}
            if view is View.STATUS:
                there = {key: replace(one, size=len(one.message)) for key, one in there.items()}
            if with_outputs:
                there = {key: replace(one, size=one.size + one.output_bytes) for key, one in there.items()}
            ordered = [there[key] for key in part if key in there]
            fit = self._with_artifacts(connection, _fitting(ordered, byte_budget.left))
            if with_outputs:
                fit = self._outputs.added(connection, fit)
            full = self._full(connection, fit, byte_budget, within, self._chunks[with_outputs])
            without = self._without_chunks(connection, fit, byte_budget, within, with_inputs=view.has_input)
            for shown in full if view is View.FULL else without:
                within.jobs[shown.key] = shown
            left_out = (job.key for job in ordered if job.key not in within.jobs and job.key not in within.bad)
            if first := next(left_out, None):
                return within.before(first, keys)
            begin += len(part)
            average = max(1, sum(job.size for job in ordered) // max(1, len(ordered)))
            size = max(1, min(4 * size, byte_budget.left // average))
        return within

    def _with_artifacts(self, connection: Connection, ordered: Sequence[JobRead]) -> Sequence[JobRead]:
        """Return jobs whose artifacts were left out with them."""
        wanted = [job.key for job in ordered if job.size > len(job.message)]
        if not wanted:
            return ordered
        found = dict(self._artifacts.rows(connection, {"keys": self._dialect.key_values(wanted)}))
        return [replace(job, message=job.message + (found.get(job.key) or b"")) for job in ordered]

    def _job(self, row: Sequence[Any], bad: set[str]) -> JobRead | None:
        return self._unreadable.read("job", job_read, row, row[0], bad)

    def _full(
        self,
        connection: Connection,
        ordered: Sequence[JobRead],
        byte_budget: ByteBudget,
        within: JobsWithin,
        wanted: DriverStatement,
    ) -> Iterator[JobRead]:
        """Yield jobs with their chunks until the reply is full; a job with an unreadable chunk is bad.

        `within` has jobs that were read before.
        """
        for group in _groups(ordered):
            inputs = self._inputs_of(connection, [job.key for job in group])
            before = byte_budget.left
            if all(byte_budget.take(job.size + len(inputs.get(job.key, b""))) for job in group):
                read = self._chunks_of(connection, wanted, [job.key for job in group], byte_budget)
                if read.complete:
                    within.bad.update(key for key, _ in read.bad)
                    yield from (_shown(job, read, inputs) for job in group if job.key not in within.bad)
                    continue
            byte_budget.left = before
            for job in group:
                if not byte_budget.take(job.size + len(inputs.get(job.key, b""))) and within.jobs:
                    return
                read = self._chunks_of(connection, wanted, [job.key], byte_budget)
                if not read.complete and within.jobs:
                    return
                if read.bad:
                    within.bad.add(job.key)
                else:
                    yield _shown(job, read, inputs)

    def _without_chunks(
        self,
        connection: Connection,
        ordered: Sequence[JobRead],
        byte_budget: ByteBudget,
        within: JobsWithin,
        *,
        with_inputs: bool,
    ) -> Iterator[JobRead]:
        """Yield jobs, perhaps with their inputs, until the reply is full."""
        for group in (ordered[begin : begin + FIRST_JOBS] for begin in range(0, len(ordered), FIRST_JOBS)):
            inputs = self._inputs_of(connection, [job.key for job in group]) if with_inputs else {}
            for job in group:
                raw = inputs.get(job.key)
                if not byte_budget.take(job.size + len(raw or b"")) and within.jobs:
                    return
                yield job if raw is None else replace(job, inputs=Inputs(raw))

    def _inputs_of(self, connection: Connection, keys: Sequence[str]) -> dict[str, bytes]:
        return dict(self._inputs.rows(connection, {"keys": self._dialect.key_values(keys)}))

    def _chunks_of(
        self, connection: Connection, wanted: DriverStatement, keys: Sequence[str], byte_budget: ByteBudget
    ) -> Chunks:
        return read_chunks(connection, wanted, {"keys": self._dialect.key_values(keys)}, byte_budget, self._unreadable)


def _fitting(ordered: Sequence[JobRead], room: int) -> Sequence[JobRead]:
    """Return the first jobs that fit, and the first in any case."""
    for count, job in enumerate(ordered):
        room -= job.size
        if count and room < 0:
            return ordered[:count]
    return ordered


def _groups(ordered: Sequence[JobRead]) -> Iterator[list[JobRead]]:
    """Yield jobs whose chunks are read together: few, or those of one job."""
    group: list[JobRead] = []
    count = 0
    for job in ordered:
        own = min(job.chunk_count, CHUNKS_IN_VIEW)
        if group and count + own > CHUNKS_PER_GROUP:
            yield group
            group, count = [], 0
        group.append(job)
        count += own
    if group:
        yield group


def _shown(job: JobRead, read: Chunks, inputs: dict[str, bytes]) -> JobRead:
    shown = read.of_job.get(job.key, [])
    return replace(
        job,
        inputs=Inputs(inputs.get(job.key), read.inputs.get(job.key, {})),
        outputs=replace(job.outputs, chunks=read.outputs.get(job.key, {})),
        chunks=shown,
        more_chunks=len(shown) < job.chunk_count,
    )


def _measured_chunk(row: Sequence[Any]) -> tuple[Chunk, int]:
    values = (row[place] or b"" for place in _WIDE_PLACES)
    size = sum(len(value.encode() if type(value) is str and not value.isascii() else value) for value in values)
    return chunk_of(row), CHUNK_OVERHEAD_BYTES + size
