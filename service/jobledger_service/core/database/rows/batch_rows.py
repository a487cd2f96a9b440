"""The rows of request ids, of runs and of unique keys, in the transaction of a batch."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from msgspec import DecodeError, json, msgpack
from msgspec import Struct as MsgStruct
from sqlalchemy import Connection, bindparam, delete, select

from jobledger_service.core.database.cells import Row, json_text
from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.driver_statements import DriverStatement
from jobledger_service.core.database.tables import requests, runs, unique_keys
from jobledger_service.core.model.bounds.limits import DAY, SECOND
from jobledger_service.core.model.leases import Lease
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.run import NEW_RUN, RunState

from .row_sets import RowSets

RUN: Final = json.Decoder(RunState)
"""Reads the column of a run."""


JOB_REQUESTS_KEPT: Final = DAY
CLAIMS_KEPT: Final = 300 * SECOND
LEASES: Final = msgpack.Decoder(tuple[Lease, ...])
"""Reads the column of leases."""


class Request(MsgStruct, frozen=True):
    """A request that took effect: its fingerprint and its job, or the leases of a claim."""

    fingerprint: bytes = b""
    job_key: str | None = None
    leases: tuple[Lease, ...] = ()


class _Rows:
    """Rows of one table, found by key."""

    find_rows: DriverStatement

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._row_sets = RowSets(dialect)

    def _read(self, connection: Connection, keys: Iterable[str]) -> list[Any]:
        return self.find_rows.rows(connection, {"keys": self._dialect.key_values(keys)})


class RequestRows(_Rows):
    """The requests that took effect, by their ids."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        key = requests.c.request_key
        columns = (requests.c.fingerprint, requests.c.job_key, requests.c.leases)
        self.find_rows = DriverStatement(select(key, *columns).where(key.in_(dialect.keys())))

    def find(self, connection: Connection, keys: Iterable[str]) -> dict[str, Request]:
        """Return those that exist."""
        return {
            key: Request(fingerprint, job_key, _leases(leases))
            for key, fingerprint, job_key, leases in self._read(connection, keys)
        }

    def insert(self, connection: Connection, new: Mapping[str, Request], now: Micros) -> None:
        """Insert new ones, in the order of their keys."""
        self._row_sets.insert(
            connection, requests, [_request_row(key, request, now) for key, request in sorted(new.items())]
        )

    def update(self, connection: Connection, changed: Mapping[str, Request], now: Micros) -> None:
        """Write claims that took effect once more, in the order of their keys."""
        rows = [_request_row(key, request, now) for key, request in sorted(changed.items())]
        self._row_sets.update(connection, requests, rows)


def _leases(encoded: bytes) -> tuple[Lease, ...]:
    """Return the leases of a claim; none if they are unreadable: the claim is then a new one."""
    with suppress(DecodeError):
        return LEASES.decode(encoded) if encoded else ()
    return ()


def _request_row(key: str, request: Request, now: Micros) -> Row:
    return {
        "request_key": key,
        "job_key": request.job_key,
        "fingerprint": request.fingerprint,
        "leases": msgpack.encode(request.leases) if request.leases else b"",
        "expire_time": now + (JOB_REQUESTS_KEPT if request.job_key else CLAIMS_KEPT),
    }


class RunRows(_Rows):
    """The progress of the service's own jobs. The rows belong to locked jobs: no transaction waits for them."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        statement = select(runs.c.job_key, runs.c.run).where(runs.c.job_key.in_(dialect.keys()))
        self.find_rows = DriverStatement(statement)

    def find(self, connection: Connection, keys: Iterable[str]) -> dict[str, RunState]:
        """Return those that exist, by job."""
        return {key: RUN.decode(run) for key, run in self._read(connection, keys)}

    def insert(self, connection: Connection, keys: Iterable[str]) -> None:
        """Insert those of new jobs."""
        self._row_sets.insert(connection, runs, [_run_row(key, NEW_RUN) for key in sorted(keys)])

    def update(self, connection: Connection, changed: Mapping[str, RunState]) -> None:
        """Write the progress of runs; the row of a deleted job no longer exists."""
        rows = [_run_row(key, run) for key, run in sorted(changed.items())]
        self._row_sets.update(connection, runs, rows)


def _run_row(job_key: str, run: RunState) -> Row:
    return {"job_key": job_key, "run": json_text(run)}


class UniqueKeyRows(_Rows):
    """The jobs that have unique keys."""

    _DELETE: Final = delete(unique_keys).where(
        unique_keys.c.unique_key == bindparam("of"), unique_keys.c.job_key == bindparam("by")
    )

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        key = unique_keys.c.unique_key
        self.find_rows = DriverStatement(select(key, unique_keys.c.job_key).where(key.in_(dialect.keys())))

    def find(self, connection: Connection, keys: Iterable[str]) -> dict[str, str]:
        """Return the jobs that have these keys."""
        return dict(self._read(connection, keys))

    def delete(self, connection: Connection, freed: Iterable[tuple[str, str]]) -> None:
        """Delete keys of jobs, in the order of the keys."""
        connection.execute(self._DELETE, [{"of": key, "by": job_key} for key, job_key in sorted(freed)])

    def insert(self, connection: Connection, taken: Mapping[str, str]) -> None:
        """Insert keys with their jobs, in the order of the keys; ConflictError when one is taken."""
        rows = [{"unique_key": key, "job_key": job_key} for key, job_key in sorted(taken.items())]
        self._row_sets.insert(connection, unique_keys, rows)
