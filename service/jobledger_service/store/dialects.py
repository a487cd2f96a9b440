"""What differs between databases, in one place."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from sqlalchemy import ColumnElement, FromClause, Integer, Select, Text, bindparam, cast, func, select
from sqlalchemy.exc import DBAPIError

from jobledger_service.domain.errors import Refusal, StoreUnavailable
from jobledger_service.ledger.ports import ChunkKey, RejectedStatementError


class Dialect(Protocol):
    """How one database takes sets of keys, and what its errors mean. Statements are built once, with parameters."""

    def keys(self) -> Select[Any]:
        """Return a subquery over the parameter `keys`."""

    def key_values(self, keys: Iterable[str]) -> object:
        """Return the value of the parameter `keys`."""

    def chunk_keys(self) -> FromClause:
        """Return a table `job_key, chunk_index` made from the parameters of `chunk_key_values`."""

    def chunk_key_values(self, keys: Sequence[ChunkKey]) -> dict[str, object]:
        """Return the parameters of `chunk_keys`."""

    def contains(self, column: ColumnElement[str], text: str) -> ColumnElement[bool]:
        """Return the condition that a column contains a text, ignoring the case of ASCII letters."""

    def meaning(self, error: DBAPIError) -> Exception:
        """Return what an error of the database means to the ledger."""


class Sqlite:
    """SQLite takes a set as one JSON document."""

    def keys(self) -> Select[Any]:
        return select(func.json_each(bindparam("keys", type_=Text)).table_valued("value").c.value)

    def key_values(self, keys: Iterable[str]) -> object:
        return json.dumps(list(keys))

    def chunk_keys(self) -> FromClause:
        each = func.json_each(bindparam("keys", type_=Text)).table_valued("value")
        return select(
            func.json_extract(each.c.value, "$[0]").label("job_key"),
            cast(func.json_extract(each.c.value, "$[1]"), Integer).label("chunk_index"),
        ).subquery("wanted")

    def chunk_key_values(self, keys: Sequence[ChunkKey]) -> dict[str, object]:
        return {"keys": json.dumps(keys)}

    def contains(self, column: ColumnElement[str], text: str) -> ColumnElement[bool]:
        # lower() folds ASCII letters only here, which is what the contract says.
        return func.instr(func.lower(column), func.lower(text)) > 0

    def meaning(self, error: DBAPIError) -> Exception:
        kind = type(error.orig).__name__
        if kind in ("IntegrityError", "DataError", "ProgrammingError", "OverflowError"):
            return RejectedStatementError(str(error.orig))
        unavailable: Refusal = StoreUnavailable()
        return unavailable
