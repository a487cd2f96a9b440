"""The primary's host is lost, and a standby is promoted: one with everything, or one that lacks the last commits."""

import asyncio
import time

import psycopg

from tests.support.cluster import NAME, Cluster, Node
from tests.torture.faults import FAULTS, LostTail, World

TAIL_SECONDS = 1.5
"""Seconds of commits that a standby lacks."""
SETTLING_SECONDS = 3.0
"""Seconds in which servers find the new primary."""


class Promotion:
    """The standby has all that was acknowledged: nothing is lost, and nobody has to list again."""

    name = "promote a synchronous standby"

    def applies(self, world: World) -> bool:
        """Whether there is a standby."""
        return world.store == "failover"

    async def inject(self, world: World) -> None:
        """Fail over, and let the old primary come back as a standby."""
        cluster = cluster_of(world)
        old, new = roles(cluster)
        await asyncio.to_thread(_fail_over, cluster, old, new)
        await asyncio.sleep(SETTLING_SECONDS)
        await asyncio.to_thread(_rejoin, cluster, old)


class LosingPromotion(Promotion):
    """The standby was cut off a while before: what was acknowledged since is lost."""

    name = "promote a standby that lacks a tail"

    async def inject(self, world: World) -> None:
        """Cut the standby off, let the load go on, and fail over."""
        cluster = cluster_of(world)
        old, new = roles(cluster)
        lost_from = time.monotonic()
        await asyncio.to_thread(_cut_off, old, new)
        await asyncio.sleep(TAIL_SECONDS)
        kept_position = await asyncio.to_thread(_position, new)
        await asyncio.to_thread(_fail_over, cluster, old, new)
        world.log.lost_tail(LostTail(kept_position, lost_from, time.monotonic()))
        await asyncio.sleep(SETTLING_SECONDS)
        await asyncio.to_thread(_rejoin, cluster, old)


def cluster_of(world: World) -> Cluster:
    """Return the cluster, which there is."""
    assert world.cluster is not None
    return world.cluster


def roles(cluster: Cluster) -> tuple[Node, Node]:
    """Return the primary and its standby."""
    return cluster.primary, next(node for node in cluster.nodes if node is not cluster.primary)


def _cut_off(old: Node, new: Node) -> None:
    """Let the primary go on without its standby."""
    new.leave()
    old.set("synchronous_standby_names", "")


def _position(node: Node) -> int:
    """Return the ledger's position as a node has it."""
    with psycopg.connect(psycopg.conninfo.make_conninfo(node.address, dbname=NAME)) as connection:
        row = connection.execute("SELECT position FROM ledger").fetchone()
    assert row is not None
    return int(row[0])


def _fail_over(cluster: Cluster, old: Node, new: Node) -> None:
    old.kill()
    cluster.promote(new)


def _rejoin(cluster: Cluster, old: Node) -> None:
    """Make the old primary a synchronous standby of the new one."""
    cluster.rejoin(old)
    cluster.primary.set("synchronous_standby_names", old.folder.name)


FAULTS += [Promotion(), LosingPromotion()]
