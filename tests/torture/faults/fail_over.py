"""Fail-overs: to a standby with everything, to one that lacks the tail, and an old primary that comes back stale."""

import asyncio
import time

from tests.support.cluster import NAME, Cluster, Node
from tests.torture.faults import FAULTS
from tests.torture.world import LostTail, World

LAG_SECONDS = (0.3, 1.5)
"""How long a standby receives nothing before it is promoted."""


def _nodes(world: World) -> tuple[Cluster, Node, Node]:
    """Return the cluster, its primary, and its standby."""
    assert world.cluster is not None
    [standby] = [node for node in world.cluster.nodes if node is not world.cluster.primary]
    return world.cluster, world.cluster.primary, standby


async def _restore(cluster: Cluster, node: Node) -> None:
    """Make a node the synchronous standby of the primary, whatever it was."""
    await asyncio.to_thread(cluster.rejoin, node)
    await asyncio.to_thread(cluster.primary.set, "synchronous_standby_names", node.folder.name)


def _replay(standby: Node) -> None:
    """Wait until a standby shows all that it has received; of the last record it may have received only a part."""
    waits_for_more = (
        "SELECT pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn() OR EXISTS (SELECT FROM pg_stat_activity"
        " WHERE backend_type = 'startup' AND wait_event IN ('RecoveryWalStream', 'RecoveryRetrieveRetryInterval'))"
    )
    while standby.execute(waits_for_more) != [(True,)]:
        pass


class _FailOver:
    name = ""

    def applies(self, world: World) -> bool:
        return world.store == "failover"


class Synchronous(_FailOver):
    """The loss of the primary's host while the standby has every acknowledged commit."""

    name = "fail over to a synchronous standby"

    async def inject(self, world: World) -> None:
        cluster, primary, standby = _nodes(world)
        world.log.killed("the primary")
        await asyncio.to_thread(primary.kill)
        await asyncio.to_thread(cluster.promote, standby)
        await _restore(cluster, primary)


class LostEnd(_FailOver):
    """The loss of the primary's host while the standby lacks what was acknowledged last."""

    name = "fail over to a standby that lacks the tail"
    comes_back = False

    async def inject(self, world: World) -> None:
        cluster, primary, standby = _nodes(world)
        await asyncio.to_thread(standby.leave)
        begin = time.monotonic()
        await asyncio.to_thread(primary.set, "synchronous_standby_names", "")
        await asyncio.sleep(world.random.uniform(*LAG_SECONDS))
        world.log.killed("the primary")
        await asyncio.to_thread(primary.kill)
        # before it is promoted: afterwards servers may have given these positions again
        await asyncio.to_thread(_replay, standby)
        [(kept,)] = await asyncio.to_thread(standby.execute, "SELECT position FROM ledger", NAME)
        promoted = time.monotonic()
        await asyncio.to_thread(cluster.promote, standby)
        world.log.lost_tail(LostTail(int(str(kept)), begin, promoted))
        if self.comes_back:
            await self._come_back(world, primary, standby)
        await _restore(cluster, primary)

    async def _come_back(self, world: World, old: Node, new: Node) -> None:
        """Let the old primary run beside the new one, and break the connections of the servers."""
        await asyncio.to_thread(old.start)
        for _ in range(world.random.randint(1, 3)):
            await asyncio.sleep(world.random.uniform(0.1, 0.5))
            await asyncio.to_thread(new.end_connections)


class StalePrimary(LostEnd):
    """The same, and the old primary comes back as it was, and could be written to."""

    name = "fail over, and the old primary comes back"
    comes_back = True


FAULTS += [Synchronous(), LostEnd(), StalePrimary()] * 4
