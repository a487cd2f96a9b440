"""The chunks that wait for workers: the heads of several queues with one statement."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Text, bindparam, cast, literal_column, select, true, union_all

from jobledger_service.core.model.chunk import Queue

from .dialects import Dialect
from .tables import chunks, waiting
from .writes import WaitingChunk

MAX_QUEUES: Final = 32
"""Queues that one statement walks. The number is rounded up to a power of two, so that few statements are compiled."""
EMPTY_QUEUE: Final = ("", "")
"""A queue that is always empty: there is no owner without a name."""

_COLUMNS = (
    chunks.c.owner,
    chunks.c.kind,
    chunks.c.priority,
    chunks.c.create_time,
    chunks.c.job_key,
    chunks.c.chunk_index,
)


class WaitingChunks:
    """Reads the heads of queues."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._statements: dict[tuple[int, bool], Any] = {}
        place = chunks.c.job_key + literal_column("'#'") + cast(chunks.c.chunk_index, Text)
        self._but = ~dialect.is_one_of(chunks.c.job_key, "but") & ~dialect.is_one_of(place, "but")

    def read(
        self, connection: Connection, wanted: Mapping[Queue, int], excluded: Sequence[str] = ()
    ) -> dict[Queue, list[WaitingChunk]]:
        """Return the first so many chunks of each queue, but for those of some jobs, and those in some places.

        A queue without any is left out.
        """
        found: dict[Queue, list[WaitingChunk]] = {}
        queues = list(wanted.items())
        for some in (queues[begin : begin + MAX_QUEUES] for begin in range(0, len(queues), MAX_QUEUES)):
            walks = 1 << (len(some) - 1).bit_length()
            parameters: dict[str, object] = {"but": self._dialect.key_values(excluded)} if excluded else {}
            for n, ((owner, kind), limit) in enumerate([*some, *[(EMPTY_QUEUE, 0)] * (walks - len(some))]):
                parameters |= {f"owner_{n}": owner, f"kind_{n}": kind, f"limit_{n}": limit}
            for owner, kind, priority, create_time, job_key, index in connection.execute(
                self._statement(walks, passes_over=bool(excluded)), parameters
            ):
                found.setdefault((owner, kind), []).append(WaitingChunk(-priority, create_time, job_key, index))
        return found

    def _statement(self, walks: int, *, passes_over: bool) -> Any:  # noqa: ANN401  SQLAlchemy's name for it depends on the number of walks
        key = walks, passes_over
        if key not in self._statements:
            each = [_walk(n, self._but if passes_over else true()) for n in range(walks)]
            if walks == 1:
                self._statements[key] = each[0]
            else:
                self._statements[key] = union_all(*(select(walk.subquery()) for walk in each))
        return self._statements[key]


def _walk(n: int, condition: ColumnElement[bool]) -> Any:  # noqa: ANN401  as above
    place = (chunks.c.priority.desc(), chunks.c.create_time, chunks.c.job_key, chunks.c.chunk_index)
    return (
        select(*_COLUMNS)
        .where(chunks.c.owner == bindparam(f"owner_{n}"), chunks.c.kind == bindparam(f"kind_{n}"), waiting, condition)
        .order_by(*place)
        .limit(bindparam(f"limit_{n}"))
    )
