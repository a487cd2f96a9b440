"""Rows read one by one: one that cannot be read is set aside."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .unreadable_rows import UnreadableRows

R = TypeVar("R")
K = TypeVar("K", str, tuple[str, int])


class RowReader:
    """Reads rows; `unreadable` is called for rows that cannot be read."""

    def __init__(self, unreadable: UnreadableRows) -> None:
        self._unreadable = unreadable

    def read(self, place: str, read: Callable[[Sequence[Any]], R], row: Sequence[Any], key: K, bad: set[K]) -> R | None:
        """Return what a row holds; None, having put its key among the bad ones, for one that cannot be read."""
        try:
            return read(row)
        except Exception as error:  # noqa: BLE001  whatever is wrong with one row is wrong with it alone
            self._unreadable.add(place, str(key), error)
            bad.add(key)
            return None
