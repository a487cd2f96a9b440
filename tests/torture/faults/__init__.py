"""What a fault is, what it may touch, and the list of all faults.

A module of this package defines faults and adds an instance of each to `FAULTS`; `all_faults` imports the modules.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import Protocol

from tests.torture.world import FaultLog, LostTail, World

__all__ = ["FAULTS", "Fault", "FaultLog", "LostTail", "World", "all_faults"]


class Fault(Protocol):
    """Something that goes wrong in a world, once per call of `inject`."""

    name: str
    """Words of the log, such as "kill a server before its commit"."""

    def applies(self, world: World) -> bool:
        """Whether the world, as it is now, has what this fault needs. Changes nothing."""

    async def inject(self, world: World) -> None:
        """Do the harm, and return when the world is whole again: all servers answer, all nodes run.

        Draws from `world.random` alone. Never blocks the loop: the load and its watches run on it, so that blocking
        work goes through `asyncio.to_thread`. The runner logs name, start and end; a fault that lost acknowledged
        commits says so by `world.log.lost_tail`.
        """


FAULTS: list[Fault] = []


def all_faults() -> list[Fault]:
    """Return every fault of every module here."""
    for module in iter_modules(__path__, f"{__name__}."):
        import_module(module.name)
    return list(FAULTS)
