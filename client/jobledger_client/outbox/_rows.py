"""The table of the outbox, and the rows that the transactions of its users insert."""

import inspect
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Concatenate, Final, ParamSpec, TypeAlias
from uuid import uuid4

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    insert,
)
from sqlalchemy.dialects.mysql import LONGBLOB
from sqlalchemy.orm import Session

from jobledger_client._new_jobs import NewJob, chunk_count, create_request

Parameters = ParamSpec("Parameters")
Transaction: TypeAlias = Connection | Session

metadata: Final = MetaData()
table: Final = Table(
    "jobledger_outbox",
    metadata,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, comment="the order of the rows"),
    Column(
        "request",
        LargeBinary().with_variant(LONGBLOB, "mysql", "mariadb"),
        nullable=False,
        comment="the encoded CreateJobRequest",
    ),
    Column(
        "generated_id",
        Boolean,
        nullable=False,
        comment="whether the job_id was made for this row, and never names another job",
    ),
    Column("chunk_count", Integer, nullable=False, comment="how many chunks the job will have"),
    Column("create_time", BigInteger, nullable=False, comment="when the row was inserted, in ms since 1970"),
    Column(
        "due_time", BigInteger, nullable=False, comment="no relay claims the row before this time, in ms since 1970"
    ),
    Column("attempts", Integer, nullable=False, comment="how often the row may have been sent"),
    Column("refused", Boolean, nullable=False, comment="whether the row waits for somebody to retry it"),
    Column("reason", String(64), comment="the reason of the last error"),
    Column("message", Text, comment="the message of the last error"),
    Index("jobledger_outbox_refused", "refused", "position"),
    mysql_charset="utf8mb4",
    mariadb_charset="utf8mb4",
    sqlite_autoincrement=True,  # else SQLite gives the positions of deleted rows again
)
"""The table. `table.to_metadata(…)` adds it to other metadata, such as those that Alembic compares."""


def create_table(connection: Transaction) -> None:
    """Create the table, unless it exists."""
    metadata.create_all(connection if isinstance(connection, Connection) else connection.connection())


def create_jobs(connection: Transaction, jobs: Iterable[NewJob]) -> list[str]:
    """Insert a row for each job into the outbox, in the transaction of `connection`; return the job ids.

    A job without a `job_id` gets one. Raises ValueError as `JobClient.create_job` does.
    """
    named = [(replace(job, job_id=job.job_id or str(uuid4())), not job.job_id) for job in jobs]
    rows = [_row(job, generated_id=generated) for job, generated in named]
    if rows:
        connection.execute(insert(table), rows)
    return [job.job_id for job, _ in named]


def _row(job: NewJob, *, generated_id: bool) -> dict[str, Any]:
    request = create_request(job if job.request_id else replace(job, request_id=str(uuid4())))
    return {
        "request": request.SerializeToString(),
        "generated_id": generated_id,
        "chunk_count": chunk_count(request),
        "create_time": now(),
        "due_time": 0,
        "attempts": 0,
        "refused": False,
    }


def now() -> int:
    """Return the time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _from_new_job(
    new_job: Callable[Parameters, NewJob],
) -> Callable[Concatenate[Transaction, Parameters], str]:
    """Return `create_job`, whose parameters are those of NewJob."""

    def create_job(connection: Transaction, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> str:
        """Insert a row for a job into the outbox, in the transaction of `connection`; return the job's id.

        The parameters after `connection` are those of `JobClient.create_job`, but `validate_only` and `timeout`. The
        job exists once a relay has sent the row after the commit. Times that are timedeltas count from now. On an
        asynchronous connection or session: `await connection.run_sync(outbox.create_job, kind, …)`.

        Raises ValueError as `JobClient.create_job` does. A job that the server refuses stays in the outbox, with the
        reason.
        """
        return create_jobs(connection, [new_job(*args, **kwargs)])[0]

    first = inspect.Parameter("connection", inspect.Parameter.POSITIONAL_ONLY, annotation=Transaction)
    further = inspect.signature(new_job).parameters.values()
    create_job.__signature__ = inspect.Signature([first, *further])  # type: ignore[attr-defined] # help() reads it
    return create_job


create_job = _from_new_job(NewJob)
"""Insert a row for a job into the outbox, in the transaction of a Connection or a Session; return the job's id.

The parameters after the connection are those of `JobClient.create_job`, but `validate_only` and `timeout`. The job
exists once a relay has sent the row after the commit. Times that are timedeltas count from now. On an asynchronous
connection or session: `await connection.run_sync(outbox.create_job, kind, …)`.

Raises ValueError as `JobClient.create_job` does. A job that the server refuses stays in the outbox, with the reason.
"""
