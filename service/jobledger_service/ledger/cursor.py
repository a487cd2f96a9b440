"""A cursor: opaque bytes that name a ledger and a position in it."""

import struct
from typing import Final, Self
from uuid import UUID

from msgspec import Struct

from jobledger_service.domain.errors import ForeignCursor, InvalidField

_FORM: Final = struct.Struct(">B16sq")
_VERSION: Final = 1


class Cursor(Struct, frozen=True):
    """The place of a ledger after its entry number `position`."""

    ledger: UUID
    position: int

    def encode(self) -> bytes:
        """Return the bytes that callers carry."""
        return _FORM.pack(_VERSION, self.ledger.bytes, self.position)

    @classmethod
    def parse(cls, raw: bytes, ledger: UUID) -> Self:
        """Return the cursor that a caller sent; raises InvalidField or ForeignCursor when it is not of `ledger`."""
        if len(raw) != _FORM.size or raw[0] != _VERSION:
            raise InvalidField(("cursor", "is not a cursor that this service gave out"))
        _, name, position = _FORM.unpack(raw)
        if name != ledger.bytes:
            raise ForeignCursor
        return cls(ledger, position)
