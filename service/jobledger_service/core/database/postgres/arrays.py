"""PostgreSQL's arrays, encoded by us: psycopg encodes a list in Python, value by value, and looks for its type first.

The format is that of `array_send` in PostgreSQL's arrayfuncs.c: a head, then each value with its length before it.
"""

import struct
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Final

_HEAD: Final = struct.Struct("!iiIii").pack
"""One dimension, whether a value is NULL, the type of the values, their number, and the index of the first."""
_EMPTY: Final = struct.Struct("!iiI").pack
_LENGTH: Final = struct.Struct("!i").pack
_NULL: Final = _LENGTH(-1)


def _text(value: str) -> bytes:
    raw = value.encode()
    return _LENGTH(len(raw)) + raw


def _bytes(value: bytes) -> bytes:
    return _LENGTH(len(value)) + value


def _fixed(size: int, code: str) -> Callable[[Any], bytes]:
    return partial(struct.Struct(f"!i{code}").pack, size)


class Array(list[Any]):
    """Values of one type, of which some may be None. The oids are those of pg_type.dat."""

    oid: ClassVar[int]
    oid_of_values: ClassVar[int]

    def encoded(self) -> bytes:
        """Return it in the binary format; raises struct.error for a number out of range."""
        if not self:
            return _EMPTY(0, 0, self.oid_of_values)
        encode, count = _ENCODERS[self.oid_of_values], len(self)
        head = _HEAD(1, None in self, self.oid_of_values, count, 1)
        first = self[0]
        if self.count(first) == count:  # as most columns of a batch
            return head + (_NULL if first is None else encode(first)) * count
        return head + b"".join([_NULL if value is None else encode(value) for value in self])


_TYPES: Final[dict[str, tuple[int, int, Callable[[Any], bytes]]]] = {
    "TEXT": (1009, 25, _text),
    "INTEGER": (1007, 23, _fixed(4, "i")),
    "SMALLINT": (1005, 21, _fixed(2, "h")),
    "BIGINT": (1016, 20, _fixed(8, "q")),
    "DOUBLE PRECISION": (1022, 701, _fixed(8, "d")),
    "BOOLEAN": (1000, 16, _fixed(1, "?")),
    "BYTEA": (1001, 17, _bytes),
}
_ENCODERS: Final = {of_values: encode for _, of_values, encode in _TYPES.values()}

ARRAYS: Final[dict[str, type[Array]]] = {
    name: type(name, (Array,), {"oid": oid, "oid_of_values": of_values}) for name, (oid, of_values, _) in _TYPES.items()
}
"""The array of each type of a column."""
Texts: Final = ARRAYS["TEXT"]
Integers: Final = ARRAYS["INTEGER"]
