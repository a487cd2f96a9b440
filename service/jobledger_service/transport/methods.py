"""What an RPC asks of its caller: a role, and the class that limits count it by."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from google.protobuf.descriptor import ServiceDescriptor

from .identity import Role


class Kind(StrEnum):
    """The class of a call for limits."""

    READ = "read"
    WRITE = "write"
    WATCH = "watch"
    """Stays open: counted when it is opened, and as long as it is open."""


@dataclass(frozen=True, slots=True)
class Method:
    """An RPC of the service that `descriptor` describes. One that `waits` stays open long, and ends when its key does.

    Without a role it needs no key: it is answered to everybody, also while the server drains.
    A `reserved` one is admitted when the owner's other calls are refused: it reports on held leases, or on health.
    """

    descriptor: ServiceDescriptor
    name: str
    role: Role | None
    kind: Kind
    waits: bool = False
    reserved: bool = False
    service: str = field(init=False)
    """The full name of the service."""
    sends_many: bool = field(init=False)
    """Whether its caller sends a stream of requests."""
    full_name: str = field(init=False)
    """The name that the descriptor of the method has."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "service", self.descriptor.full_name)
        described = self.descriptor.methods_by_name[self.name]
        object.__setattr__(self, "full_name", described.full_name)
        object.__setattr__(self, "sends_many", described.client_streaming)


@dataclass(frozen=True, slots=True)
class Calls:
    """RPCs, and the object whose methods of the same names answer them; those of one service may have several."""

    methods: Sequence[Method]
    answers: object
