"""Keys that ended: what other processes changed is learnt, and calls that are open with an ended key end."""

from collections.abc import Callable
from dataclasses import dataclass

from .keyring import KeyRing


@dataclass(frozen=True, slots=True)
class KeyDuty:
    """Looks for changes of keys where other processes make some; `sweep` ends the calls of keys that ended."""

    keyring: KeyRing
    shared: bool
    sweep: Callable[[], None]

    async def once(self) -> bool:
        """Do it; there is never more at once."""
        try:
            if self.shared:
                await self.keyring.read_on()
        finally:
            self.sweep()
        return False
