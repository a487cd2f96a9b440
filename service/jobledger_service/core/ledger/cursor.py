"""Cursors: opaque bytes that name an epoch of a ledger and a position in it."""

import struct
from typing import Final
from uuid import UUID

from jobledger_service.core.model.errors import ForeignCursor, InvalidField
from jobledger_service.core.model.micros import Micros

_POSITION: Final = struct.Struct(">q")
_WITHIN: Final = struct.Struct(">q6sq")
_VERSION: Final = b"\x01"
_VERSION_WITHIN: Final = b"\x02"
_MAX_KEY_BYTES: Final = 512


class Cursors:
    """The cursors of one epoch: the place in the ledger after the entry with a position."""

    def __init__(self, epoch: UUID) -> None:
        self._prefix = _VERSION + epoch.bytes
        self._prefix_within = _VERSION_WITHIN + epoch.bytes

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

    def encode_within(self, position: int, mark: str, create_time: Micros, job_key: str) -> bytes:
        """Return a cursor within snapshots: what is at or before the place of a job is as of the position."""
        return self._prefix_within + _WITHIN.pack(position, bytes.fromhex(mark), create_time) + job_key.encode()

    def parse_within(self, raw: bytes, mark: str) -> tuple[int, tuple[Micros, str] | None]:
        """Return the position of a cursor, and the place of one within snapshots of the request with this mark."""
        if not raw.startswith(_VERSION_WITHIN):
            return self.parse(raw), None
        begin = len(self._prefix_within)
        key = raw[begin + _WITHIN.size :]
        if not 0 < len(key) <= _MAX_KEY_BYTES or b"/" not in key or not key.isascii() or b"\0" in key:
            raise InvalidField(("cursor", "must be a cursor that this service issued"))
        if not raw.startswith(self._prefix_within):
            raise ForeignCursor
        position, found, create_time = _WITHIN.unpack_from(raw, begin)
        if position < 0:
            raise InvalidField(("cursor", "must be a cursor that this service issued"))
        if found.hex() != mark:
            raise InvalidField(("cursor", "must have no place in the snapshots of another filter"))
        return position, (create_time, key.decode())
