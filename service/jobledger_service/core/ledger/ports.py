"""Shared types of the ledger: keys of rows, the clock, and ports of the outside world."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol, TypeVar

from msgspec import Struct as MsgStruct

ChunkKey = tuple[str, int]
Queue = tuple[str, str]
"""Where chunks wait for workers: an owner and a kind; or a job's key and NO_KIND, for those of one job alone."""
NO_KIND: Final = ""

Clock = Callable[[], int]
"""Returns the time in microseconds since 1970."""

EncodeStruct = Callable[[Mapping[str, object]], bytes]
"""Encodes names and JSON values as a Struct, the form of inputs and metadata."""


class Inputs(MsgStruct, frozen=True):
    """Encoded Structs: a job's input, and those of its chunks that have one."""

    job: bytes | None = None
    chunks: Mapping[int, bytes] = {}


T = TypeVar("T")


class StoreRunner(Protocol):
    """Runs work of the store: a write on the writer's thread, a read on a reader's."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Return the result of the work."""
