"""What there is to call: every method of every service, as the server itself lists them."""

from dataclasses import dataclass, field

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.support.methods import METHODS


@dataclass(frozen=True)
class Target:
    """One method: how it is called, and whether it may wait for something to happen."""

    descriptor: MethodDescriptor = field(repr=False)
    path: str
    waits: bool

    @property
    def streams(self) -> tuple[bool, bool]:
        """Return whether requests, and whether answers, are streams."""
        return self.descriptor.client_streaming, self.descriptor.server_streaming

    @property
    def makes(self) -> bool:
        """Return whether its answers have what other methods ask for."""
        return self.descriptor.name.startswith(("Create", "Claim", "List"))

    @property
    def destroys(self) -> bool:
        """Return whether it takes away what other methods ask for."""
        return self.descriptor.name.startswith(("Delete", "Cancel", "Revoke"))


def served(server: str) -> list[Target]:
    """Return every method of the server at an address, in the order of their names."""
    with grpc.insecure_channel(server) as channel:
        names = sorted(ProtoReflectionDescriptorDatabase(channel).get_services())
    pool = descriptor_pool.Default()
    return [_target(method) for name in names for method in pool.FindServiceByName(name).methods]


def _target(method: MethodDescriptor) -> Target:
    known = METHODS.get(method.full_name)
    waits = method.server_streaming or (known is not None and known.waits)
    return Target(method, f"/{method.containing_service.full_name}/{method.name}", waits)
