"""Halving: finds the items that make an attempt at many of them fail, so that these fail alone."""

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Halving(Generic[Item]):
    """Iterates over parts of the items, in their order: first all of them, and after `split` the halves of a part."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._parts = [items] if items else []

    def __iter__(self) -> Iterator[Sequence[Item]]:
        while self._parts:
            yield self._parts.pop()

    def split(self, part: Sequence[Item]) -> bool:
        """Continue with the halves of a part; return False for a single item, which has failed alone."""
        middle = len(part) // 2
        if middle:
            self._parts += [part[middle:], part[:middle]]
        return bool(middle)

    @property
    def rest(self) -> list[Item]:
        """The items that the iteration has not reached."""
        return [item for part in reversed(self._parts) for item in part]
