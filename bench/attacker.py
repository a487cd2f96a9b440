"""The attacker: a process of an owner with several keys, who burdens the server in one way after the other."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final

import uvloop

from .attacks import Attack, Score
from .attacks_on_reads import CatchUps, LargeReads, MalformedBytes, SlowReads, UnreadWatches, Watchers
from .attacks_on_writes import (
    CancelledClaims,
    Flood,
    ForgedTokens,
    LargeCancellations,
    LargeCreations,
    LargeNumbers,
    LargeRequests,
    ManyKinds,
    WebhookUpdates,
)
from .owner import Owner
from .tasks import Answer, Tasks, serve

ATTACKS: Final[Mapping[str, type[Attack]]] = {
    "large catch-ups": CatchUps,
    "forged tokens": ForgedTokens,
    "large cancellations": LargeCancellations,
    "large creations": LargeCreations,
    "flood of CreateJob": Flood,
    "slow reads": SlowReads,
    "webhook updates": WebhookUpdates,
    "claims of many kinds": ManyKinds,
    "claims that are left": CancelledClaims,
    "2,000 watchers": Watchers,
    "unread watches": UnreadWatches,
    "large reads": LargeReads,
    "large requests": LargeRequests,
    "large requests of numbers": LargeNumbers,
    "malformed bytes": MalformedBytes,
}


class Attacker:
    """The attacker's keys, and the attacks that are ready."""

    def __init__(self, owners: Sequence[Owner]) -> None:
        self._owners = owners
        self._ready: dict[str, Attack] = {}
        self._score = Score()
        self.tasks: Tasks = {"prepare": self._prepare, "open": self._open, "attack": self._attack}

    async def _prepare(self, name: str) -> Answer:
        """Make an attack ready."""
        self._ready[name] = ATTACKS[name]()
        await self._ready[name].prepare(self._owners)
        return {}

    async def _open(self, name: str) -> Answer:
        """Open what the attack holds."""
        self._score = Score()
        await self._ready[name].open(self._owners, self._score)
        return {}

    async def _attack(self, name: str, seconds: float) -> Answer:
        """Carry it out for so long, wait for what is still under way, and return how its calls ended."""
        began = time.perf_counter()
        await self._ready.pop(name).go(self._owners, began + seconds, self._score)
        return {"codes": dict(self._score.codes), "seconds": time.perf_counter() - began}


async def main(address: str, *tokens: str) -> None:
    """Do what standard input asks for."""
    owners = [Owner(address, token) for token in tokens]
    await serve(Attacker(owners).tasks)
    for owner in owners:
        await owner.close()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
