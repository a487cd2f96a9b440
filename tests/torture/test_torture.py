"""A short run of the harness on each store: no guarantee is broken while faults are injected under load."""

from pathlib import Path

import pytest

from tests.torture.assembly import STORES
from tests.torture.checks import check
from tests.torture.faults import FAULTS, Fault, World
from tests.torture.history import History
from tests.torture.run import Torture

pytestmark = pytest.mark.long  # servers are killed under load

SECONDS = 20.0
SEED = 1


class RestartedServer:
    """SIGKILL of a server at a random moment, and its restart: the one fault that each store always has."""

    name = "kill a server and start it again"

    def applies(self, world: World) -> bool:
        return True

    async def inject(self, world: World) -> None:
        await world.kill_and_restart(world.random.choice(world.servers))


def faults() -> list[Fault]:
    """Return all faults that there are, and the one of this file."""
    return [RestartedServer(), *FAULTS]


@pytest.mark.guarantee("3a.1", "3a.2", "3a.3", "3a.4", "3a.5", "3a.6", "3a.7", "3a.8", "3a.9")
@pytest.mark.guarantee("3b.1", "3b.5", "3b.8", "3c.1", "3c.2", "3c.5", "3c.6", "3c.14", "3d.1", "3d.4")
@pytest.mark.parametrize("kind", STORES)
async def test_no_guarantee_is_broken_under_faults(kind: str, tmp_path: Path):
    run = Torture(kind, SECONDS, SEED, tmp_path / "history", print, faults())
    await run.run()
    history = History.load(tmp_path / "history")
    assert check(history) == []
    assert history.faults
    assert all(call.owner in (*history.owners, "mallory", "admin") for call in history.calls)
    acknowledged = {call.method for call in history.calls if call.succeeded and call.owner in history.owners}
    assert acknowledged >= {"CreateJob", "CompleteChunks", "FailChunks", "ReleaseChunks", "RetryJob", "DeleteJob"}
