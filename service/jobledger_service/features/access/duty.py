"""Keys that ended: what other processes changed is learnt, and calls that are open with an ended key end."""

from collections.abc import Callable
from dataclasses import dataclass

from .keyring import KeyRing


@dataclass(frozen=True, slots=True)
class KeyDuty:
    """Looks for changes of keys where other processes make some; `cancel_calls` ends the calls of keys that ended."""

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
