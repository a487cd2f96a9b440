"""Cursors: opaque bytes that name an epoch of a ledger and a position in it."""

import struct
from typing import Final
from uuid import UUID

from jobledger_service.core.model.errors import ForeignCursor, InvalidField

_POSITION: Final = struct.Struct(">q")
_VERSION: Final = b"\x01"


class Cursors:
    """The cursors of one epoch: the place in the ledger after the entry with a position."""

    def __init__(self, epoch: UUID) -> None:
        self._prefix = _VERSION + epoch.bytes

    def encode(self, position: int) -> bytes:
        """Return the bytes for callers."""
        return self._prefix + _POSITION.pack(position)

    def parse(self, raw: bytes) -> int:
        """Return the position of a caller's cursor; raises InvalidField, ForeignCursor."""
        if len(raw) != len(self._prefix) + _POSITION.size or not raw.startswith(_VERSION):
            raise InvalidField(("cursor", "must be a cursor that this service issued"))
        if not raw.startswith(self._prefix):
            raise ForeignCursor
        position: int = _POSITION.unpack_from(raw, len(self._prefix))[0]
        if position < 0:
            raise InvalidField(("cursor", "must be a cursor that this service issued"))
        return position
