"""What a database says of itself, for the health of the server."""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct as MsgStruct

MAX_COUNTED_DELIVERIES: Final = 10_000
"""Where counting the deliveries that wait stops."""


class Replica(MsgStruct, frozen=True):
    """A server that is connected to the database."""

    name: str
    version: str


class StoreVitals(MsgStruct, frozen=True):
    """What the database said: sizes in bytes, the newest position; `disk_free` None where that cannot be known."""

    position: int
    schema_version: str
    size: int
    disk_free: int | None = None
    replicas: Sequence[Replica] = ()
    jobs: Mapping[str, int] = {}
    """How many jobs there are, by state."""
    deliveries: int = 0
    """Webhook deliveries that wait, as far as they were counted."""
    oldest_delivery: int | None = None
    """When the oldest of these was recorded, in microseconds since 1970."""
    writer_level: int = 0
    """The lowest writer level that may write to the database."""
