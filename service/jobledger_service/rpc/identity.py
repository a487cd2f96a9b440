"""Who calls."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Caller:
    """The tenant that a caller belongs to, and the name that the audit trail gives to the caller."""

    owner: str
    name: str


ANYBODY: Final = Caller(owner="default", name="caller")
"""Every caller of a server without keys."""
