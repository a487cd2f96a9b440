"""The base of the enums of the contract."""

from enum import IntEnum
from typing import TYPE_CHECKING, Self


class ContractEnum(IntEnum):  # noqa: PLW1641 - hash and comparison are those of int
    """An enum of the contract, without prefixes; `JobState(job.state).name` is a name for people."""

    if TYPE_CHECKING:  # else mypy refuses to compare it with a field of a message, whose type is another

        def __eq__(self, other: object) -> bool: ...

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        """Return a member for a number that this version does not know, such as a state of a newer server."""
        if not isinstance(value, int):
            return None
        unknown = int.__new__(cls, value)
        unknown._name_, unknown._value_ = f"UNKNOWN_{value}" if value else "UNSPECIFIED", value
        return unknown
