"""The chunks that wait for workers: the heads of several queues with one statement."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    and_,
    bindparam,
    cast,
    literal_column,
    select,
    true,
    tuple_,
    union_all,
)

from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.driver_statements import DriverStatement
from jobledger_service.core.database.rows.paused_kinds import is_paused, unless_paused
from jobledger_service.core.database.rows.writes import WaitingChunk
from jobledger_service.core.database.tables import chunks, jobs, waiting
from jobledger_service.core.model.chunk import NO_KIND, Queue
from jobledger_service.core.model.service_kinds import SERVICE_KINDS

MAX_QUEUES: Final = 32
"""Queues that one statement walks. The number is rounded up to a power of two, so that few statements are compiled."""
EMPTY_QUEUE: Final = ("", "")
"""A queue that is always empty, as every owner has a name."""

_SERVICE_KINDS: Final[list[ColumnElement[str]]] = [literal_column(f"'{kind}'") for kind in SERVICE_KINDS]
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
        self._statements: dict[tuple[bool, int, bool], DriverStatement] = {}
        self._but = ~is_set_aside(dialect)

    def read(
        self, connection: Connection, limits: Mapping[Queue, int], excluded: Sequence[str] = ()
    ) -> dict[Queue, list[WaitingChunk]]:
        """Return the first chunks of each queue, up to its limit, without the jobs and chunks that `excluded` names.

        Empty queues and those of paused kinds are left out.
        """
        heads: dict[Queue, list[WaitingChunk]] = {}
        for of_jobs in False, True:
            queues = [(queue, limit) for queue, limit in limits.items() if (queue[1] == NO_KIND) is of_jobs]
            for batch in (queues[begin : begin + MAX_QUEUES] for begin in range(0, len(queues), MAX_QUEUES)):
                walks = 1 << (len(batch) - 1).bit_length()
                parameters: dict[str, object] = {"but": self._dialect.key_values(excluded)} if excluded else {}
                for n, ((first, kind), limit) in enumerate([*batch, *[(EMPTY_QUEUE, 0)] * (walks - len(batch))]):
                    parameters |= {f"first_{n}": first, f"limit_{n}": limit} | ({} if of_jobs else {f"kind_{n}": kind})
                statement = self._statement(walks, of_jobs=of_jobs, passes_over=bool(excluded))
                for owner, kind, priority, create_time, job_key, index in statement.rows(connection, parameters):
                    queue = (job_key, NO_KIND) if of_jobs else (owner, kind)
                    heads.setdefault(queue, []).append(WaitingChunk(-priority, create_time, job_key, index))
        return heads

    def _statement(self, walks: int, *, of_jobs: bool, passes_over: bool) -> DriverStatement:
        key = of_jobs, walks, passes_over
        if key not in self._statements:
            queue = _of_job if of_jobs else _of_kind
            each = [_walk(n, and_(*queue(n)), self._but if passes_over else true()) for n in range(walks)]
            if walks == 1:
                self._statements[key] = DriverStatement(each[0])
            else:
                self._statements[key] = DriverStatement(union_all(*(select(walk.subquery()) for walk in each)))
        return self._statements[key]


def is_set_aside(dialect: Dialect) -> ColumnElement[bool]:
    """Return the condition that a chunk, or its job, is one of those in the parameter `but`."""
    place = chunks.c.job_key + literal_column("'#'") + cast(chunks.c.chunk_index, Text)
    return dialect.is_one_of(chunks.c.job_key, "but") | dialect.is_one_of(place, "but")


def _of_kind(n: int) -> list[ColumnElement[bool]]:
    owner, kind = bindparam(f"first_{n}", type_=Text), bindparam(f"kind_{n}", type_=Text)
    return [chunks.c.owner == unless_paused(owner, kind), chunks.c.kind == kind]


def _of_job(n: int) -> list[ColumnElement[bool]]:
    """Return the conditions that find the chunks of one job in the index, without those of service jobs.

    The key is a range: with `job_key =`, SQLite walks the primary key, and so the chunks that do not wait.
    """
    key: ColumnElement[str] = bindparam(f"first_{n}")
    of_job = (chunks.c.kind, jobs.c.kind), (chunks.c.priority, jobs.c.priority)
    claimable = select(jobs.c.owner).where(jobs.c.job_key == key, ~is_paused(jobs.c.owner, jobs.c.kind))
    equal = [
        chunks.c.owner == claimable.scalar_subquery(),
        *(
            column == select(value).where(jobs.c.job_key == key).scalar_subquery()
            for column, value in (*of_job, (chunks.c.create_time, jobs.c.create_time))
        ),
    ]
    place = tuple_(chunks.c.job_key, chunks.c.chunk_index)
    begin, end = (tuple_(key, literal_column(index)) for index in ("0", "2147483647"))
    return [*equal, place >= begin, place <= end, chunks.c.kind.not_in(_SERVICE_KINDS)]


def _walk(n: int, queue: ColumnElement[bool], condition: ColumnElement[bool]) -> Any:  # noqa: ANN401  as above
    place = (chunks.c.priority.desc(), chunks.c.create_time, chunks.c.job_key, chunks.c.chunk_index)
    return select(*_COLUMNS).where(queue, waiting, condition).order_by(*place).limit(bindparam(f"limit_{n}"))
