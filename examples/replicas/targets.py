"""How a client names several replicas: one target with all addresses, which gRPC tries in their order."""

from collections.abc import Sequence

# Without a pool of its own, all channels of a process would share one connection to each replica.
OPTIONS = (("grpc.use_local_subchannel_pool", 1),)


def target(addresses: Sequence[str], first: int) -> str:
    """Return the target of a client that begins at one replica, and goes to the next ones when that one is gone."""
    begin = first % len(addresses)
    return "ipv4:" + ",".join([*addresses[begin:], *addresses[:begin]])
