"""Who calls."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Caller:
    """The tenant that a caller belongs to, the name that the audit trail gives to the caller, and the key, if any."""

    owner: str
    name: str
    key_id: str = ""


ANYBODY: Final = Caller(owner="default", name="caller")
"""Every caller of a server without keys."""
