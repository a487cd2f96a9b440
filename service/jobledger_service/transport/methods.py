"""What an RPC asks of its caller, a role and the class that limits count it by, and why it may be refused."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf.descriptor import ServiceDescriptor
from jobledger.v1.reasons import ANY_CALL, ANY_READ, OF_METHODS
from msgspec import Struct as MsgStruct

from .identity import NeededRole

if TYPE_CHECKING:
    import grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"  # generic in its stubs only


class Kind(StrEnum):
    """The class of a call for limits."""

    READ = "read"
    WRITE = "write"
    WATCH = "watch"
    """Stays open: counted when it is opened, and as long as it is open."""


@dataclass(frozen=True, slots=True)
class Method:
    """An RPC of the service that `descriptor` describes. One that `waits` stays open long, and ends when its key does.

    `reasons` are why it may be refused, beside what any call of its class may be refused for: what the contract lists,
    and so given here only for services of other contracts.
    Without a role it needs no key: it is answered to everybody, also while the server drains.
    A `reserved` one is admitted when the owner's other calls are refused: it reports on held leases, or on health.
    """

    descriptor: ServiceDescriptor
    name: str
    role: NeededRole | None
    kind: Kind
    reasons: tuple[str, ...] = ()
    waits: bool = False
    reserved: bool = False
    service: str = field(init=False)
    """The full name of the service."""
    sends_many: bool = field(init=False)
    """Whether its caller sends a stream of requests."""
    full_name: str = field(init=False)
    """The name that the descriptor of the method has."""
    all_reasons: frozenset[str] = field(init=False)
    """`reasons`, and those of any call of its class."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "service", self.descriptor.full_name)
        described = self.descriptor.methods_by_name[self.name]
        object.__setattr__(self, "full_name", described.full_name)
        object.__setattr__(self, "sends_many", described.client_streaming)
        object.__setattr__(self, "reasons", self.reasons or OF_METHODS.get(self.full_name, ()))
        of_class = ANY_CALL if self.kind is Kind.WRITE else ANY_CALL | ANY_READ
        object.__setattr__(self, "all_reasons", of_class.union(self.reasons))


class Calls(MsgStruct, frozen=True):
    """RPCs, and the object whose methods of the same names answer them; those of one service may have several."""

    methods: Sequence[Method]
    answers: object
