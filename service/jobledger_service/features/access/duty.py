"""Keys that ended: what others changed is learnt, and calls that are open with an ended key end; the use of keys."""

from collections.abc import Callable
from dataclasses import dataclass

from jobledger_service.core.ledger.committer import Committer

from .keyring import KeyRing
from .store import SqlKeyStore


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


@dataclass(frozen=True, slots=True)
class KeyUseDuty:
    """Records when keys were last used. What a crash takes away is lost."""

    keyring: KeyRing
    store: SqlKeyStore
    committer: Committer

    async def once(self) -> bool:
        """Run once; return False."""
        used = self.keyring.pop_used()
        if used:
            await self.committer.run_on_writer(lambda: self.store.record_last_used(used))
        return False
