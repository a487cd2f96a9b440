"""The workers that were active recently, in memory and bounded, each with what it last said about itself."""

import asyncio
from collections import OrderedDict
from typing import Final

from msgspec import Struct as MsgStruct

from jobledger_service.core.database.clock import Clock
from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.core.model.owners import Owners

MAX_WORKERS: Final = 10_000
"""The maximum number of remembered workers of an owner; beyond it, those seen longest ago are forgotten."""
ACTIVE: Final = 60 * SECOND
"""How long a worker counts after its last call: well above the time between two heartbeats or claims."""
REMEMBERED: Final = 600 * SECOND
"""How long a silent worker is remembered: a claim may wait for 300 s."""


class WorkerInfo(MsgStruct, frozen=True):
    """What a worker says with a claim; `owners` are those that it claims for, None for its key's own."""

    kinds: tuple[str, ...]
    owners: Owners | None
    version: str
    host: str


class SeenWorker(MsgStruct, frozen=True):
    """A worker of an owner's key, when it was last seen, and what it said last, None when it has not claimed here."""

    owner: str
    worker: str
    time: int
    info: WorkerInfo | None = None


class ActiveWorkers:
    """Records when each worker last claimed or reported, by the ledger's clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, OrderedDict[str, SeenWorker]] = {}
        self.is_new = asyncio.Event()
        """Set when a worker claims that has no remembered claim."""

    def record(self, owner: str, worker: str, info: WorkerInfo | None = None) -> None:
        """Record that a worker of an owner's key is active now."""
        of_owner = self._seen.setdefault(owner, OrderedDict())
        known = of_owner.get(worker)
        if info is not None and (known is None or known.info is None):
            self.is_new.set()
        of_owner[worker] = SeenWorker(owner, worker, self._clock(), info or (known.info if known else None))
        of_owner.move_to_end(worker)
        if len(of_owner) > MAX_WORKERS:
            of_owner.popitem(last=False)

    def count(self) -> int:
        """Return the number of recently active workers."""
        return len(self.since(self._clock() - ACTIVE))

    def since(self, time: int) -> list[SeenWorker]:
        """Return the workers seen at a time or later."""
        workers: list[SeenWorker] = []
        for of_owner in self._seen.values():
            for seen in reversed(of_owner.values()):
                if seen.time < time:
                    break
                workers.append(seen)
        return workers

    def forget(self, before: int) -> None:
        """Forget the workers seen before a time."""
        for owner, of_owner in [*self._seen.items()]:
            while of_owner and next(iter(of_owner.values())).time < before:
                of_owner.popitem(last=False)
            if not of_owner:
                del self._seen[owner]
