"""What was called, and when keys were last used, goes from memory into the database."""

from collections.abc import Callable
from dataclasses import dataclass

from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.ports import Clock
from jobledger_service.transport.usage import Usage, UsageRow

from .queries import UsageStore, day_before, day_of


@dataclass(frozen=True, slots=True)
class UsageDuty:
    """Notes what is new, and forgets what is older than `kept` days. What a crash takes away is lost."""

    usage: Usage
    store: UsageStore
    take_used: Callable[[], dict[str, int]]
    note_used: Callable[[dict[str, int]], None]
    committer: Committer
    clock: Clock
    kept: float

    async def once(self) -> bool:
        """Do it; there is never more at once."""
        now = self.clock()
        rows = self.usage.take(day_of(now))
        used = self.take_used()
        if rows or used:
            try:
                await self.committer.maintain(self._note(rows, used, day_before(now, self.kept)))
            except BaseException:
                self.usage.give_back(rows)
                raise
        return False

    def _note(self, rows: list[UsageRow], used: dict[str, int], oldest: str) -> Callable[[], None]:
        def note() -> None:
            if rows:
                self.store.add(rows)
                self.store.forget(oldest)
            if used:
                self.note_used(used)

        return note
