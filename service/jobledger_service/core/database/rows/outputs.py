"""The outputs of jobs and of chunks: written once, and read only for those who are shown them."""

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, LargeBinary, Select, and_, case, cast, func, null, select

from jobledger_service.core.database.cells import Row
from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.driver_statements import DriverStatement
from jobledger_service.core.database.tables import chunks, jobs, outputs
from jobledger_service.core.model.job import Outputs
from jobledger_service.core.model.states import JobState

from .chunk_rows import SHOWN_CHUNK_COLUMNS, UID_OF_CHUNK, WHOLE_CHUNKS
from .entry import JOB_ITSELF
from .reads import JobRead
from .row_sets import RowSets

_OF_JOB: Final = and_(
    outputs.c.uid == jobs.c.uid,
    outputs.c.chunk_index == JOB_ITSELF,
    jobs.c.state == JobState.COMPLETED,
)
_OF_CHUNK: Final = and_(outputs.c.uid == UID_OF_CHUNK, outputs.c.chunk_index == chunks.c.chunk_index)
OutputKey: TypeAlias = tuple[bytes, int]
"""The uid of a job, and the index of one of its chunks, or JOB_ITSELF."""
SHOWN_OUTPUT_BYTES: Final[ColumnElement[int]] = case(
    (jobs.c.state == JobState.COMPLETED, func.coalesce(jobs.c.output_bytes, 0)), else_=0
)
"""The bytes of a job's output that readers are shown."""


def select_chunks(*, with_outputs: bool) -> Select[tuple[object, ...]]:
    """Return a read of chunks: SHOWN_CHUNK_COLUMNS, their input, and their output, NULL without `with_outputs`."""
    if with_outputs:
        source, output = WHOLE_CHUNKS.outerjoin(outputs, _OF_CHUNK), outputs.c.encoded.label("output")
        return select(*SHOWN_CHUNK_COLUMNS, chunks.c.input, output).select_from(source)
    no_output = cast(null(), LargeBinary).label("output")
    return select(*SHOWN_CHUNK_COLUMNS, chunks.c.input, no_output).select_from(WHOLE_CHUNKS)


class JobOutputs:
    """Reads the outputs of COMPLETED jobs."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        source = jobs.join(outputs, _OF_JOB)
        named = jobs.c.job_key.in_(dialect.keys())
        statement = select(jobs.c.job_key, jobs.c.uid, outputs.c.encoded).select_from(source).where(named)
        self._outputs = DriverStatement(statement)

    def read(self, connection: Connection, keys: Iterable[str]) -> dict[str, tuple[bytes, bytes]]:
        """Return the uid and the encoded output of each of these jobs that has one, by key."""
        rows = self._outputs.rows(connection, {"keys": self._dialect.key_values(keys)})
        return {key: (uid, encoded) for key, uid, encoded in rows}

    def added(self, connection: Connection, jobs: Iterable[JobRead]) -> list[JobRead]:
        """Return jobs with their outputs; jobs without one cost no read."""
        read = list(jobs)
        keys = [job.key for job in read if job.output_bytes]
        by_key = self.read(connection, keys) if keys else {}
        return [replace(job, outputs=Outputs(by_key[job.key][1])) if job.key in by_key else job for job in read]


class OutputWrites:
    """Writes outputs, by the uid of their job and the index of the chunk."""

    def __init__(self, dialect: Dialect) -> None:
        self._row_sets = RowSets(dialect)

    def replace(self, connection: Connection, declared: Mapping[OutputKey, bytes], stale: Iterable[OutputKey]) -> None:
        """Delete outputs that jobs no longer have, then insert new ones, in their order."""
        self._row_sets.delete(connection, outputs, [_key_row(key) for key in sorted(stale)])
        rows = [_key_row(key) | {"encoded": raw} for key, raw in sorted(declared.items())]
        self._row_sets.insert(connection, outputs, rows)


def _key_row(key: OutputKey) -> Row:
    return {"uid": key[0], "chunk_index": key[1]}
