"""What the rooms have in common: names of rows, the clock, and what the world outside is asked for."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeVar

from msgspec import Struct as MsgStruct

ChunkKey = tuple[str, int]
Queue = tuple[str, str]
"""An owner and a kind: where chunks wait for workers."""

Clock = Callable[[], int]
"""Tells the time in microseconds since 1970."""

EncodeStruct = Callable[[Mapping[str, object]], bytes]
"""Makes an encoded Struct, such as inputs and metadata are, of names and JSON values."""


class Inputs(MsgStruct, frozen=True):
    """Encoded Structs: a job's input, and those of its chunks that have one."""

    job: bytes | None = None
    chunks: Mapping[int, bytes] = {}


T = TypeVar("T")


class StoreRunner(Protocol):
    """Carries out work of the store: a write on the writer's thread, a read on a reader's."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Return what the work returns."""
