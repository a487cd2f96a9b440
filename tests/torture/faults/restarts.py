"""Processes end at a random moment: a server, which starts again on its port, and a worker, which is replaced."""

from tests.torture.faults import FAULTS
from tests.torture.world import World


class KilledServer:
    """SIGKILL of one server."""

    name = "kill a server"

    def applies(self, world: World) -> bool:
        """Whether there is a server."""
        return bool(world.servers)

    async def inject(self, world: World) -> None:
        """Kill it and start it again."""
        await world.kill_and_restart(world.random.choice(world.servers))


class KilledWorker:
    """SIGKILL of one worker process, whose leases run out."""

    name = "kill a worker"

    def applies(self, world: World) -> bool:
        """Whether a worker runs."""
        return bool(world.workers)

    async def inject(self, world: World) -> None:
        """Kill it."""
        world.random.choice(world.workers).kill()


FAULTS += [KilledServer(), KilledWorker()]
