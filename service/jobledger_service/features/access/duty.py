"""Ended keys: reads changes of other processes, and ends open calls with an ended key."""

from collections.abc import Callable
from dataclasses import dataclass

from .keyring import KeyRing


@dataclass(frozen=True, slots=True)
class KeyDuty:
    """Reads changes of keys where other processes change them; `cancel_calls` ends the calls of ended keys."""

    keyring: KeyRing
    shared: bool
    cancel_calls: Callable[[], None]

    async def once(self) -> bool:
        """Run once; return False."""
        try:
            if self.shared:
                await self.keyring.refresh()
        finally:
            self.cancel_calls()
        return False
