"""A cursor: opaque bytes that name an epoch of a ledger and a position in it."""

import struct
from typing import Final, Self
from uuid import UUID

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.errors import ForeignCursor, InvalidField

_FORM: Final = struct.Struct(">B16sq")
_VERSION: Final = 1


class Cursor(MsgStruct, frozen=True):
    """The place in a ledger after its entry number `position`."""

    epoch: UUID
    position: int

    def encode(self) -> bytes:
        """Return the bytes for callers."""
        return _FORM.pack(_VERSION, self.epoch.bytes, self.position)

    @classmethod
    def parse(cls, raw: bytes, epoch: UUID) -> Self:
        """Return the cursor of a caller's bytes; raises InvalidField or ForeignCursor when it is not of `epoch`."""
        if len(raw) != _FORM.size or raw[0] != _VERSION:
            raise InvalidField(("cursor", "must be a cursor that this service issued"))
        _, name, position = _FORM.unpack(raw)
        if name != epoch.bytes:
            raise ForeignCursor
        if position < 0:
            raise InvalidField(("cursor", "must be a cursor that this service issued"))
        return cls(epoch, position)
