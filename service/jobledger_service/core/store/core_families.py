"""The rows of the core's own families: requests, runs and unique keys."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import json
from sqlalchemy import Connection, Select, bindparam, delete, select

from jobledger_service.core.ledger.request_ids import Request, RequestIds
from jobledger_service.core.ledger.row_families import OpenFamily
from jobledger_service.core.ledger.runs import Runs
from jobledger_service.core.ledger.unique_keys import UniqueKeys
from jobledger_service.core.model.run import NEW_RUN, RunState

from .cells import Row, json_text
from .dialects import Dialect
from .row_sets import RowSets
from .tables import requests, runs, unique_keys

RUN: Final = json.Decoder(RunState)
"""Reads the column of a run."""


def core_families(dialect: Dialect) -> list[OpenFamily]:
    """Return the families of the core."""
    key, columns = requests.c.request_key, (requests.c.fingerprint, requests.c.job_key)
    find_requests = select(key, *columns).where(key.in_(dialect.keys()))
    unique = unique_keys.c.unique_key
    find_unique = select(unique, unique_keys.c.job_key).where(unique.in_(dialect.keys()))
    find_runs = select(runs.c.job_key, runs.c.run).where(runs.c.job_key.in_(dialect.keys()))
    return [
        lambda transaction, undo: RequestIds(_RequestRows(transaction.connection, dialect, find_requests), undo),
        lambda transaction, undo: UniqueKeys(_UniqueKeyRows(transaction.connection, dialect, find_unique), undo),
        lambda transaction, undo: Runs(_RunRows(transaction.connection, dialect, find_runs), undo),
    ]


class _Rows:
    """Rows of one table, found by key."""

    def __init__(self, connection: Connection, dialect: Dialect, find: Select[Any]) -> None:
        self._connection = connection
        self._dialect = dialect
        self._row_sets = RowSets(dialect)
        self._find = find

    def _read(self, keys: Iterable[str]) -> Any:  # noqa: ANN401  rows of the statement
        return self._connection.execute(self._find, {"keys": self._dialect.key_values(keys)})


class _RequestRows(_Rows):
    def find(self, keys: Iterable[str]) -> dict[str, Request]:
        return {key: Request(fingerprint, job_key) for key, fingerprint, job_key in self._read(keys)}

    def insert(self, requests_: Mapping[str, Request], now: int) -> None:
        rows = [
            {"request_key": key, "job_key": one.job_key, "fingerprint": one.fingerprint, "create_time": now}
            for key, one in sorted(requests_.items())
        ]
        self._row_sets.insert(self._connection, requests, rows)


_FREE: Final = delete(unique_keys).where(
    unique_keys.c.unique_key == bindparam("of"), unique_keys.c.job_key == bindparam("by")
)


class _UniqueKeyRows(_Rows):
    def find(self, keys: Iterable[str]) -> dict[str, str]:
        return dict(self._read(keys).tuples().all())

    def delete(self, freed: Iterable[tuple[str, str]]) -> None:
        self._connection.execute(_FREE, [{"of": key, "by": job_key} for key, job_key in sorted(freed)])

    def insert(self, taken: Mapping[str, str]) -> None:
        rows = [{"unique_key": key, "job_key": job_key} for key, job_key in sorted(taken.items())]
        self._row_sets.insert(self._connection, unique_keys, rows)


class _RunRows(_Rows):
    def find(self, keys: Iterable[str]) -> dict[str, RunState]:
        return {key: RUN.decode(run) for key, run in self._read(keys)}

    def insert(self, keys: Iterable[str]) -> None:
        self._row_sets.insert(self._connection, runs, [_run_row(key, NEW_RUN) for key in sorted(keys)])

    def update(self, changed: Mapping[str, RunState]) -> None:
        rows = [_run_row(key, run) for key, run in sorted(changed.items())]
        self._row_sets.update(self._connection, runs, rows)


def _run_row(job_key: str, run: RunState) -> Row:
    return {"job_key": job_key, "run": json_text(run)}
