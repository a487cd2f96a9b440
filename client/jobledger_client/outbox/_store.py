"""What relays and operators do with the rows, each function in a transaction of its caller."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError
from jobledger.v1.job_service_pb2 import CreateJobRequest
from sqlalchemy import ColumnElement, Connection, delete, false, func, select, true, update

from jobledger_client._new_jobs import MAX_BATCH_JOBS, fits
from jobledger_client.outbox._rows import now, table

LEASE_SECONDS: Final = 60
"""How long the rows that a relay claims are its own."""
_REASON_LENGTH: Final = 64
_MESSAGE_LENGTH: Final = 4_096
_row = table.c
_waits = _row.refused == false()


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A row of the outbox: a job that is not created yet, or that the server refused.

    `attempts` counts how often it may have been sent; `create_time` is in milliseconds since 1970. `reason` and
    `message` are those of the last error, and empty without one.
    """

    position: int
    request: CreateJobRequest
    generated_id: bool
    create_time: int
    attempts: int
    refused: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row was not sent, and when it may be claimed again; `due_time` None: when somebody retries it."""

    position: int
    due_time: int | None
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many rows wait, how many were refused, and the age of the oldest row that waits."""

    waiting: int
    refused: int
    oldest_seconds: float


def is_any_due(connection: Connection) -> bool:
    """Return whether a relay may claim a row now; lock nothing."""
    return connection.execute(select(_row.position).where(_waits, _row.due_time <= now()).limit(1)).first() is not None


def claim(connection: Connection) -> list[OutboxRow]:
    """Claim the first due rows that one call can carry, and return them in their order.

    Rows that another relay claims at the same time are skipped.
    """
    if connection.dialect.name == "sqlite":  # takes the lock of the one writer before it reads
        connection.execute(update(table).where(false()).values(attempts=0))
    due = (
        select(_row.position, _row.chunk_count, func.length(_row.request))
        .where(_waits, _row.due_time <= now())
        .order_by(_row.position)
        .limit(MAX_BATCH_JOBS)
        .with_for_update(skip_locked=True)
    )
    positions: list[int] = []
    chunks = size = 0
    for position, more, longer in connection.execute(due):
        chunks, size = chunks + more, size + longer
        if positions and not fits(len(positions) + 1, chunks, size):
            break
        positions.append(position)
    if not positions:
        return []
    due_time = now() + LEASE_SECONDS * 1_000
    claimed = _row.position.in_(positions)
    connection.execute(update(table).where(claimed).values(due_time=due_time, attempts=_row.attempts + 1))
    return _rows(connection, claimed, MAX_BATCH_JOBS)


def delete_rows(connection: Connection, positions: Collection[int]) -> None:
    """Delete the rows whose jobs exist."""
    connection.execute(delete(table).where(_row.position.in_(positions)))


def release(connection: Connection, positions: Collection[int], *, unsent: bool) -> None:
    """Make claimed rows due again; `unsent` is whether the server surely has none of their jobs."""
    attempts = _row.attempts - 1 if unsent else _row.attempts
    connection.execute(update(table).where(_row.position.in_(positions)).values(due_time=0, attempts=attempts))


def record_failures(connection: Connection, failures: Sequence[Failure]) -> None:
    """Postpone rows, or keep them as refused."""
    for failure in failures:
        connection.execute(
            update(table)
            .where(_row.position == failure.position)
            .values(
                due_time=failure.due_time or 0,
                refused=failure.due_time is None,
                reason=failure.reason[:_REASON_LENGTH],
                message=failure.message[:_MESSAGE_LENGTH],
            )
        )


def backlog(connection: Connection) -> Backlog:
    """Count the rows."""
    counted = connection.execute(select(_row.refused, func.count()).group_by(_row.refused))
    counts: dict[bool, int] = dict(counted.all())
    oldest = connection.execute(
        select(_row.create_time).where(_waits).order_by(_row.position).limit(1)
    ).scalar_one_or_none()
    return Backlog(counts.get(False, 0), counts.get(True, 0), 0 if oldest is None else max(now() - oldest, 0) / 1_000)


def list_rows(connection: Connection, *, refused_only: bool = True, limit: int = 100) -> list[OutboxRow]:
    """Return the rows that the server refused, or all rows, in their order."""
    return _rows(connection, _row.refused == true() if refused_only else true(), limit)


def retry_rows(connection: Connection, positions: Collection[int] | None = None) -> int:
    """Let relays send refused rows again, at these positions or, without any, all; return how many."""
    named = true() if positions is None else _row.position.in_(positions)
    return connection.execute(
        update(table).where(_row.refused == true(), named).values(refused=False, due_time=0)
    ).rowcount


def _rows(connection: Connection, selected: ColumnElement[bool], limit: int) -> list[OutboxRow]:
    columns = (
        _row.position,
        _row.request,
        _row.generated_id,
        _row.create_time,
        _row.attempts,
        _row.refused,
        func.coalesce(_row.reason, ""),
        func.coalesce(_row.message, ""),
    )
    found = connection.execute(select(*columns).where(selected).order_by(_row.position).limit(limit))
    return [OutboxRow(position, _decoded(request), *rest) for position, request, *rest in found]


def _decoded(request: bytes) -> CreateJobRequest:
    """Return a request; an empty one, which the server refuses, for damaged bytes."""
    try:
        return CreateJobRequest.FromString(request)
    except DecodeError:
        return CreateJobRequest()
