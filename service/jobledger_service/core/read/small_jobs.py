"""Small jobs, of any owners, read together: at most so many rows and bytes, whatever the keys are those of."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec.structs import replace
from sqlalchemy import Connection, func, select

from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.driver_statements import DriverStatement
from jobledger_service.core.database.rows.attempts import AttemptReads
from jobledger_service.core.database.rows.job_rows import (
    CHUNK_COUNT,
    SHOWN_BYTES,
    WHOLE_COLUMNS,
    WHOLE_JOBS,
    whole_job_read,
)
from jobledger_service.core.database.rows.outputs import SHOWN_OUTPUT_BYTES, JobOutputs, select_chunks
from jobledger_service.core.database.rows.reads import JobRead, View
from jobledger_service.core.database.tables import chunks, jobs, ledger, parked
from jobledger_service.core.database.unreadable_rows import UnreadableRows
from jobledger_service.core.model.job import Inputs

from .job_reads import ByteBudget, Chunks, JobsWithin, bounded, read_chunks

MAX_JOB_BYTES: Final = 16 * 1024
"""Bytes of a small job's segments and input together."""
MAX_JOB_CHUNKS: Final = 100
"""Chunks of a job that is small in view FULL."""
MAX_CHUNKS: Final = 500
"""Chunks that are read together, or those of one job."""
MAX_HISTORIES: Final = 50
"""Jobs with earlier attempts that are read together: the last ones of each may be 80 KiB."""
MAX_CHUNK_BYTES: Final = 512 * 1024
"""Bytes of chunks that are read together."""
_PLACE: Final = slice(len(WHOLE_COLUMNS), len(WHOLE_COLUMNS) + 2)


class SmallJobReads:
    """Reads the small ones among jobs. The others are left out like jobs that do not exist: each is read by itself."""

    def __init__(self, dialect: Dialect, unreadable: UnreadableRows, attempts: AttemptReads) -> None:
        self._attempts = attempts
        self._outputs = JobOutputs(dialect)
        self._dialect = dialect
        self._unreadable = unreadable
        keys = dialect.keys()
        named = jobs.c.job_key.in_(keys)
        size = SHOWN_BYTES + SHOWN_OUTPUT_BYTES
        place = [select(column).scalar_subquery() for column in (ledger.c.position, ledger.c.term)]
        basic = select(*WHOLE_COLUMNS, *place).select_from(WHOLE_JOBS).where(named)
        detail = basic.add_columns(jobs.c.chunks_completed, jobs.c.input).where(
            size + func.coalesce(func.length(jobs.c.input), 0) <= MAX_JOB_BYTES
        )
        # the place of one that waits for a slot is counted
        full = detail.where(CHUNK_COUNT <= MAX_JOB_CHUNKS, ~parked)
        by_view = dict.fromkeys(View, basic.where(size <= MAX_JOB_BYTES)) | {View.DETAIL: detail, View.FULL: full}
        self._jobs = {view: DriverStatement(wanted) for view, wanted in by_view.items()}
        order = chunks.c.job_key, chunks.c.chunk_index
        self._chunks = {
            some: bounded(dialect, select_chunks(with_outputs=some).where(chunks.c.job_key.in_(keys)).order_by(*order))
            for some in (False, True)
        }

    def read(self, connection: Connection, keys: Sequence[str], view: View) -> JobsWithin:
        """Return the small jobs, in view FULL as many as have MAX_CHUNKS together: the first are read in any case."""
        bad: set[str] = set()
        found: dict[str, JobRead] = {}
        with_outputs, place = False, None  # only COMPLETED chunks have an output
        for row in self._jobs[view].rows(connection, self._keys(keys)):
            place = row[_PLACE]
            job = self._unreadable.read("job", whole_job_read, row[: len(WHOLE_COLUMNS)], row[0], bad)
            if job is not None:
                if view in (View.DETAIL, View.FULL):
                    job = replace(job, inputs=Inputs(row[-1]))
                    with_outputs = with_outputs or row[-2] > 0
                found[job.key] = job
        found = {job.key: job for job in self._outputs.added(connection, found.values())}
        if view is not View.FULL:
            return JobsWithin(found, (), bad, place)
        taken, unread = _within([found[key] for key in keys if key in found])
        read = Chunks()
        if taken:
            read = read_chunks(
                connection,
                self._chunks[with_outputs],
                self._keys(taken),
                ByteBudget(MAX_CHUNK_BYTES),
                self._unreadable,
            )
        bad.update(key for key, _ in read.bad)
        whole = (_whole(found[key], read) for key in taken if key not in bad)
        shown = self._attempts.added(connection, _with_few_histories(one for one in whole if one is not None))
        return JobsWithin({one.key: one for one in shown}, unread, bad, place)

    def _keys(self, keys: Sequence[str]) -> dict[str, object]:
        return {"keys": self._dialect.key_values(keys)}


def _within(ordered: Sequence[JobRead]) -> tuple[list[str], list[str]]:
    """Return the keys of the first jobs, as many as are read together, and of the rest."""
    count = 0
    for index, job in enumerate(ordered):
        count += job.chunk_count
        if index and count > MAX_CHUNKS:
            return [one.key for one in ordered[:index]], [one.key for one in ordered[index:]]
    return [one.key for one in ordered], []


def _with_few_histories(jobs: Iterable[JobRead]) -> Iterator[JobRead]:
    """Yield jobs, but for those with earlier attempts beyond MAX_HISTORIES, which are read by themselves."""
    count = 0
    for one in jobs:
        has_earlier = any(chunk.attempt_number > 1 for chunk in one.chunks)
        count += has_earlier
        if count <= MAX_HISTORIES or not has_earlier:
            yield one


def _whole(job: JobRead, read: Chunks) -> JobRead | None:
    """Return a job all of whose chunks were read, None for one that is too large to be read with others."""
    shown = read.of_job.get(job.key, [])
    if len(shown) < job.chunk_count:
        return None
    return replace(
        job,
        inputs=replace(job.inputs, chunks=read.inputs.get(job.key, {})),
        outputs=replace(job.outputs, chunks=read.outputs.get(job.key, {})),
        chunks=shown,
    )
