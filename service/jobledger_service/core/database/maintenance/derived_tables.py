"""The tables of features that are derived from jobs, and how a recount makes them right again."""

from collections.abc import Callable

from msgspec import Struct as MsgStruct
from sqlalchemy import Connection

CorrectRows = Callable[[Connection, str], tuple[int, str | None]]
"""Corrects the next rows after a key, in one transaction.

Returns how many were wrong, and the key after which to continue, None at the end.
"""


class DerivedTable(MsgStruct, frozen=True):
    """A derived table. `correct` corrects its rows; without one, `reason` says why they cannot be derived again."""

    name: str
    correct: CorrectRows | None = None
    reason: str = ""
