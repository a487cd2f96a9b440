"""The chunks that wait for workers: the beginnings of their queues, of several queues in one statement."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select, union_all

from jobledger_service.ledger.ports import Queue
from jobledger_service.ledger.write_ports import WaitingChunk

from .tables import chunks, waiting

MAX_QUEUES: Final = 32
"""Queues that one statement walks. The number is rounded up to a power of two, so that few statements are compiled."""
NOBODY: Final = ("", "")
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
    """Reads the beginnings of queues."""

    def __init__(self) -> None:
        self._statements: dict[int, Any] = {}

    def read(self, connection: Connection, wanted: Mapping[Queue, int]) -> dict[Queue, list[WaitingChunk]]:
        """Return the first so many chunks of each queue; a queue without any is left out."""
        found: dict[Queue, list[WaitingChunk]] = {}
        queues = list(wanted.items())
        for some in (queues[begin : begin + MAX_QUEUES] for begin in range(0, len(queues), MAX_QUEUES)):
            walks = 1 << (len(some) - 1).bit_length()
            parameters: dict[str, object] = {}
            for n, ((owner, kind), limit) in enumerate([*some, *[(NOBODY, 0)] * (walks - len(some))]):
                parameters |= {f"owner_{n}": owner, f"kind_{n}": kind, f"limit_{n}": limit}
            for owner, kind, priority, create_time, job_key, index in connection.execute(
                self._statement(walks), parameters
            ):
                found.setdefault((owner, kind), []).append(WaitingChunk(-priority, create_time, job_key, index))
        return found

    def _statement(self, walks: int) -> Any:  # noqa: ANN401  SQLAlchemy's name for it depends on the number of walks
        if walks not in self._statements:
            each = [_walk(n) for n in range(walks)]
            if walks == 1:
                self._statements[walks] = each[0]
            else:
                self._statements[walks] = union_all(*(select(walk.subquery()) for walk in each))
        return self._statements[walks]


def _walk(n: int) -> Any:  # noqa: ANN401  as above
    place = (chunks.c.priority.desc(), chunks.c.create_time, chunks.c.job_key, chunks.c.chunk_index)
    return (
        select(*_COLUMNS)
        .where(chunks.c.owner == bindparam(f"owner_{n}"), chunks.c.kind == bindparam(f"kind_{n}"), waiting)
        .order_by(*place)
        .limit(bindparam(f"limit_{n}"))
    )
