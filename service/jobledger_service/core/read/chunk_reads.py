"""Chunks: a statement and a budget of bytes come in; chunks, inputs and outputs go out until the budget is spent."""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct as MsgStruct
from sqlalchemy import BigInteger, Connection, Select, bindparam, func, select

from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.driver_statements import DriverStatement
from jobledger_service.core.database.rows.chunk_rows import CHUNK_COLUMNS, chunk_of
from jobledger_service.core.database.unreadable_rows import UnreadableRows
from jobledger_service.core.model.chunk import Chunk

CHUNK_OVERHEAD_BYTES: Final = 400
"""Bytes of a chunk, encoded, beside its texts; what its parts have in JSON is about as long as they are encoded."""

_WIDE: Final = frozenset(["current", "content", "stage", "task_id", "worker"])
"""Columns of chunks with texts and bodies that may be long."""
_WIDE_PLACES: Final = [index for index, column in enumerate(CHUNK_COLUMNS) if column.name in _WIDE]


class ByteBudget:
    """The remaining bytes of a reply."""

    def __init__(self, remaining: int) -> None:
        self.remaining = remaining

    def take(self, size: int) -> bool:
        """Take bytes; return False, and take nothing, when there are too few."""
        if size > self.remaining:
            return False
        self.remaining -= size
        return True


class FetchedChunks(MsgStruct):
    """The chunks of some jobs, and their inputs and outputs; `complete` unless there was no room for all.

    `bad` are the jobs and the indexes of chunks that cannot be read.
    """

    of_job: dict[str, list[Chunk]] = {}
    inputs: dict[str, dict[int, bytes]] = {}
    outputs: dict[str, dict[int, bytes]] = {}
    complete: bool = True
    bad: set[tuple[str, int]] = set()


def bounded(dialect: Dialect, ordered_chunks: Select[Any]) -> DriverStatement:
    """Return a read of chunks in order as one that ends, on PostgreSQL, with the chunk that fills `room` bytes.

    SQLite needs no end: its rows are read as they are asked for, and `read_chunks` asks for no more.
    """
    if not dialect.has_row_locks:
        return DriverStatement(ordered_chunks)
    chunk = ordered_chunks.subquery()
    order = (chunk.c.job_key, chunk.c.chunk_index)
    size = sum(
        func.coalesce(func.octet_length(column), 0) for column in (chunk.c.input, chunk.c.output, chunk.c.content)
    )
    measured = select(chunk, (func.sum(size).over(order_by=order) - size).label("bytes_before")).subquery()
    shown = [column for column in measured.c if column.name != "bytes_before"]
    within = select(*shown).where(measured.c.bytes_before <= bindparam("room", type_=BigInteger))
    return DriverStatement(within.order_by(measured.c.job_key, measured.c.chunk_index))


def read_chunks(
    connection: Connection,
    statement: DriverStatement,
    values: dict[str, object],
    budget: ByteBudget,
    unreadable: UnreadableRows,
) -> FetchedChunks:
    """Return the chunks of a `bounded` statement until the budget is spent."""
    read = FetchedChunks()

    def fetch(cursor: Any) -> FetchedChunks:  # noqa: ANN401  the driver's
        for *row, input_, output in cursor:
            measured = unreadable.read("chunk", _measured_chunk, row, (row[0], row[1]), read.bad)
            if measured is None:
                continue
            chunk, size = measured
            if not budget.take(size + len(input_ or b"") + len(output or b"")):
                read.complete = False
                break
            read.of_job.setdefault(chunk.job_key, []).append(chunk)
            if input_ is not None:
                read.inputs.setdefault(chunk.job_key, {})[chunk.index] = input_
            if output is not None:
                read.outputs.setdefault(chunk.job_key, {})[chunk.index] = output
        return read

    return statement.fetch(connection, values | {"room": budget.remaining}, fetch)


def _measured_chunk(row: Sequence[Any]) -> tuple[Chunk, int]:
    values = (row[place] or b"" for place in _WIDE_PLACES)
    size = sum(len(value.encode() if type(value) is str and not value.isascii() else value) for value in values)
    return chunk_of(row), CHUNK_OVERHEAD_BYTES + size
