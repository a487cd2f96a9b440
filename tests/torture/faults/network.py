"""A network that delays, throttles, cuts, half-closes, resets and swallows, before servers and before databases."""

import asyncio
from collections.abc import Sequence

from tests.support.proxy import FaultyProxy
from tests.torture.faults import FAULTS
from tests.torture.world import World

SECONDS = (0.3, 4.0)
"""How long a network is bad."""


class _Network:
    """Something that happens to the network before all servers, or before all nodes of the database."""

    def __init__(self, what: str, *, before_database: bool) -> None:
        self.name = f"{what}: before the {'database' if before_database else 'servers'}"
        self._what = what
        self._before_database = before_database

    def applies(self, world: World) -> bool:
        return bool(self._proxies(world))

    def _proxies(self, world: World) -> Sequence[FaultyProxy]:
        return world.database_proxies if self._before_database else list(world.client_proxies.values())

    async def inject(self, world: World) -> None:
        proxies = self._proxies(world)
        chosen = proxies if self._before_database else [world.random.choice(proxies)]
        match self._what:
            case "cut" | "reset" | "half_close":
                for proxy in chosen:
                    getattr(proxy, self._what)()
                return
            case "delay":
                for proxy in chosen:
                    proxy.delay = world.random.uniform(0.01, 0.2)
            case "throttle":
                for proxy in chosen:
                    proxy.rate = world.random.choice([5_000, 50_000])
            case "swallow":
                for proxy in chosen:
                    proxy.flows.clear()
        await asyncio.sleep(world.random.uniform(*SECONDS))
        for proxy in chosen:
            proxy.delay, proxy.rate = 0.0, float("inf")
            proxy.flows.set()


FAULTS += [
    _Network(what, before_database=before_database)
    for what in ("cut", "reset", "half_close", "delay", "throttle", "swallow")
    for before_database in (False, True)
]
