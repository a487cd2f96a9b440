"""The owners whose chunks a worker may hold."""

from typing import Final

from msgspec import Struct as MsgStruct

ALL_OWNERS: Final = ""
"""Stands for all owners where owners are named; no owner has an empty name."""


class Owners(MsgStruct, frozen=True):
    """Some owners by name, or all of them."""

    names: frozenset[str] = frozenset()
    all: bool = False

    @property
    def listed(self) -> list[str]:
        """The names, or ALL_OWNERS alone."""
        return [ALL_OWNERS] if self.all else sorted(self.names)

    def __contains__(self, owner: str) -> bool:
        """Whether an owner is one of them."""
        return self.all or owner in self.names
