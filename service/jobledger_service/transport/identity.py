"""Who calls, when nobody has to say so."""

from typing import Final

from jobledger_service.features.access.rules import DEFAULT_OWNER, Caller, Role

__all__ = ["ANYBODY", "NOBODY", "Caller"]

ANYBODY: Final = Caller(owner=DEFAULT_OWNER, name="caller", roles=frozenset({Role.ADMIN}))
"""Every caller of a server without keys."""
NOBODY: Final = Caller(owner="", name="")
"""Every caller of a method that needs no key: it may do nothing else."""
