"""The rows of request ids, of runs and of unique keys, in the transaction of a batch."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from operator import itemgetter
from typing import Any, Final

from msgspec import DecodeError, json, msgpack
from msgspec import Struct as MsgStruct
from msgspec.structs import asdict
from sqlalchemy import Connection, bindparam, delete, select, update

from jobledger_service.core.database.cells import Row, json_text
from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.driver_statements import DriverStatement
from jobledger_service.core.database.tables import requests, runs, unique_keys
from jobledger_service.core.model.bounds.limits import DAY, SECOND
from jobledger_service.core.model.leases import Lease
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.run import NEW_RUN, RunState

from .row_sets import RowSets
from .writes import ConflictError

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


class KeyHolder(MsgStruct, frozen=True):
    """The job that has a unique key; `kept_until` is None while it has not ended."""

    job_key: str
    kept_until: Micros | None = None

    def has_it(self, now: Micros) -> bool:
        """Whether the key is not free yet."""
        return self.kept_until is None or self.kept_until > now


class UniqueKeyRows(_Rows):
    """The jobs that have unique keys."""

    _OF_JOB: Final = (unique_keys.c.unique_key == bindparam("of"), unique_keys.c.job_key == bindparam("by"))
    _DELETE: Final = delete(unique_keys).where(*_OF_JOB)
    _DELETE_ENDED: Final = _DELETE.where(unique_keys.c.kept_until.is_not(None))
    _KEEP: Final = update(unique_keys).where(*_OF_JOB).values(kept_until=bindparam("until"))

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        key = unique_keys.c.unique_key
        columns = (key, unique_keys.c.job_key, unique_keys.c.kept_until)
        self.find_rows = DriverStatement(select(*columns).where(key.in_(dialect.keys())))

    def find(self, connection: Connection, keys: Iterable[str]) -> dict[str, KeyHolder]:
        """Return who has these keys, or had them when its time was over."""
        return {key: KeyHolder(*holder) for key, *holder in self._read(connection, keys)}

    def delete(self, connection: Connection, freed: Iterable[tuple[str, str]], *, ended: bool = False) -> None:
        """Delete keys of jobs, in the order of the keys; with `ended` only of jobs that have not begun again."""
        statement = self._DELETE_ENDED if ended else self._DELETE
        connection.execute(statement, [{"of": key, "by": job_key} for key, job_key in sorted(freed)])

    def keep(self, connection: Connection, kept: Mapping[tuple[str, str], Micros | None]) -> None:
        """Set until when jobs keep their keys, in the order of the keys; ConflictError when another has one."""
        for (key, job_key), until in sorted(kept.items(), key=itemgetter(0)):
            if not connection.execute(self._KEEP, {"of": key, "by": job_key, "until": until}).rowcount:
                raise ConflictError("a unique key was taken elsewhere")

    def insert(self, connection: Connection, taken: Mapping[str, KeyHolder]) -> None:
        """Insert keys with their jobs, in the order of the keys; ConflictError when one is taken."""
        rows = [{"unique_key": key, **asdict(holder)} for key, holder in sorted(taken.items(), key=itemgetter(0))]
        self._row_sets.insert(connection, unique_keys, rows)
