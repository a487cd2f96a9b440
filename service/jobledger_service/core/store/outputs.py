"""The outputs of jobs and of chunks: written once, and read only for those who are shown them."""

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, LargeBinary, Select, and_, case, cast, delete, func, null, select

from jobledger_service.core.model.chunk import ChunkKey
from jobledger_service.core.model.job import Outputs
from jobledger_service.core.model.states import JobState

from .chunk_rows import CHUNK_COLUMNS, WHOLE_CHUNKS
from .dialects import Dialect
from .entry import JOB_ITSELF
from .reads import JobRead
from .row_sets import RowSets
from .tables import chunks, jobs, outputs

_OF_JOB: Final = and_(
    outputs.c.job_key == jobs.c.job_key,
    outputs.c.chunk_index == JOB_ITSELF,
    jobs.c.state == JobState.COMPLETED,
)
_OF_CHUNK: Final = and_(outputs.c.job_key == chunks.c.job_key, outputs.c.chunk_index == chunks.c.chunk_index)
SHOWN_OUTPUT_BYTES: Final[ColumnElement[int]] = case(
    (jobs.c.state == JobState.COMPLETED, func.coalesce(jobs.c.output_bytes, 0)), else_=0
)
"""The bytes of a job's output that readers are shown."""


def select_chunks(*, with_outputs: bool) -> Select[tuple[object, ...]]:
    """Return a read of chunks: CHUNK_COLUMNS, their input and their output, which is NULL unless it is wanted."""
    if with_outputs:
        source, output = WHOLE_CHUNKS.outerjoin(outputs, _OF_CHUNK), outputs.c.encoded.label("output")
        return select(*CHUNK_COLUMNS, chunks.c.input, output).select_from(source)
    return select(*CHUNK_COLUMNS, chunks.c.input, cast(null(), LargeBinary).label("output")).select_from(WHOLE_CHUNKS)


class JobOutputs:
    """Reads the outputs of COMPLETED jobs."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        source = jobs.join(outputs, _OF_JOB)
        named = jobs.c.job_key.in_(dialect.keys())
        self._outputs = select(jobs.c.job_key, jobs.c.uid, outputs.c.encoded).select_from(source).where(named)

    def read(self, connection: Connection, keys: Iterable[str]) -> dict[str, tuple[bytes, bytes]]:
        """Return the uid and the encoded output of each of these jobs that has one, by key."""
        found = connection.execute(self._outputs, {"keys": self._dialect.key_values(keys)})
        return {key: (uid, encoded) for key, uid, encoded in found}

    def added(self, connection: Connection, some: Iterable[JobRead]) -> list[JobRead]:
        """Return jobs with their outputs, which most do not have: nothing is read for these."""
        read = list(some)
        wanted = [job.key for job in read if job.output_bytes]
        found = self.read(connection, wanted) if wanted else {}
        return [replace(job, outputs=Outputs(found[job.key][1])) if job.key in found else job for job in read]


class OutputWrites:
    """Writes outputs."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._row_sets = RowSets(dialect)
        named = outputs.c.job_key.in_(dialect.keys())
        self._delete = delete(outputs).where(named, outputs.c.chunk_index == JOB_ITSELF)

    def delete_of_jobs(self, connection: Connection, keys: Iterable[str]) -> None:
        """Delete the outputs of jobs, and none of their chunks."""
        connection.execute(self._delete, {"keys": self._dialect.key_values(keys)})

    def insert(self, connection: Connection, new: Mapping[ChunkKey, bytes]) -> None:
        """Insert outputs, by job and index of the chunk, in the order of these."""
        rows = [{"job_key": key, "chunk_index": index, "encoded": raw} for (key, index), raw in sorted(new.items())]
        self._row_sets.insert(connection, outputs, rows)
