"""Cursors: opaque bytes that name an epoch of a ledger, a position in it, and the term of that position."""

import struct
from collections.abc import Callable
from typing import Final
from uuid import UUID

from .model.history.terms import Point, Terms
from .model.micros import Micros
from .model.refusals.errors import ForeignCursor, HistoryLost, InvalidField

_POINT: Final = struct.Struct(">qq")
_POSITION: Final = struct.Struct(">q")
_WITHIN: Final = struct.Struct(">qq6sq")
_BEFORE_TERMS: Final = b"\x01"
_VERSION: Final = b"\x03"
_VERSION_WITHIN: Final = b"\x04"
_MAX_KEY_BYTES: Final = 512
_RULE: Final = ("cursor", "must be a cursor that this service issued")


class Cursors:
    """The cursors of one epoch: the place in the ledger after the entry with a position.

    `terms` returns what is known of the terms of the positions that are encoded.
    """

    def __init__(self, epoch: UUID, terms: Callable[[], Terms]) -> None:
        self._terms = terms
        self._epoch = epoch.bytes
        self._prefix = _VERSION + epoch.bytes
        self._prefix_within = _VERSION_WITHIN + epoch.bytes

    def encode(self, position: int) -> bytes:
        """Return the bytes for callers."""
        return self.encode_point(self._terms().point(position))

    def encode_point(self, point: Point) -> bytes:
        """Return the bytes of a position whose term is known."""
        return self._prefix + _POINT.pack(*point)

    def parse(self, raw: bytes) -> Point:
        """Return the point of a caller's cursor; raises InvalidField, ForeignCursor."""
        layout = _POSITION if raw.startswith(_BEFORE_TERMS) else _POINT
        if raw[:1] not in (_VERSION, _BEFORE_TERMS) or len(raw) != len(self._prefix) + layout.size:
            raise InvalidField(_RULE)
        self._check_epoch(raw)
        position, *term = layout.unpack_from(raw, len(self._prefix))
        return _checked(Point(position, *term or [0]))

    def encode_within(self, position: int, mark: str, create_time: Micros, job_key: str) -> bytes:
        """Return a cursor within snapshots: what is at or before the place of a job is as of the position."""
        point = self._terms().point(position)
        return self._prefix_within + _WITHIN.pack(*point, bytes.fromhex(mark), create_time) + job_key.encode()

    def parse_within(self, raw: bytes, mark: str) -> tuple[Point, tuple[Micros, str] | None]:
        """Return the point of a cursor, and the place of one within snapshots of the request with this mark."""
        if not raw.startswith(_VERSION_WITHIN):
            return self.parse(raw), None
        begin = len(self._prefix_within)
        key = raw[begin + _WITHIN.size :]
        if not 0 < len(key) <= _MAX_KEY_BYTES or b"/" not in key or not key.isascii() or b"\0" in key:
            raise InvalidField(_RULE)
        self._check_epoch(raw)
        position, term, cursor_mark, create_time = _WITHIN.unpack_from(raw, begin)
        point = _checked(Point(position, term))
        if cursor_mark.hex() != mark:
            raise InvalidField(("cursor", "must have no place in the snapshots of another filter"))
        return point, (create_time, key.decode())

    def check(self, point: Point, end: int) -> None:
        """Raise HistoryLost unless the ledger, which has reached the position `end`, has what it had at a point."""
        if point.position > end or not self._terms().include(point):
            raise HistoryLost

    def _check_epoch(self, raw: bytes) -> None:
        if raw[1 : 1 + len(self._epoch)] != self._epoch:
            raise ForeignCursor


def _checked(point: Point) -> Point:
    if point.position < 0 or point.term < 0:
        raise InvalidField(_RULE)
    return point
