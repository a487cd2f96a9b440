"""Checks encoded Structs at the speed of C: a large one may have 15,000 values, and no Python runs for each of them.

What is checked is what protobuf writes: of a map's entry first the key, then the value, and both always.
"""

import re
from typing import Final

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Value

from .encoded_fields import decode_varint
from .joined import encode_varint

_MAX_MESSAGES: Final = 101
"""How deep messages may be nested for protobuf to decode them: 100 within the outermost."""
_MAX_SHORT: Final = 127
"""Bytes of a text whose length is one byte. The expression passes over it; a longer one costs a step of Python."""

_LENGTH: Final = rb"[\x80-\xff]*[\x00-\x7f]"
_NOT_EMPTY: Final = rb"(?:[\x01-\x7f]|[\x80-\xff]+[\x00-\x7f])"
_SHORT_TEXT: Final = b"(?:" + b"|".join(rb"\x%02x.{%d}" % (n, n) for n in range(_MAX_SHORT + 1)) + b")"
_KEY: Final = rb"\x0a" + _LENGTH + rb"\x0a"
"""The start of an entry, and the tag of its key: no value in a list begins with this tag."""
_VALUES: Final = re.compile(
    rb"(?:"
    + b"|".join(
        (
            _KEY + _SHORT_TEXT + rb"\x12" + _NOT_EMPTY,
            rb"\x0a" + _NOT_EMPTY + rb"(?!\x0a)",  # a value in a list
            rb"\x11.{6}(?:[\x00-\xef].|.[^\x7f\xff])",  # a number: not every bit of its exponent is set
            rb"\x1a" + _SHORT_TEXT,
            rb"[\x08\x20].",  # null, true, false
            rb"[\x2a\x32]" + _LENGTH,  # an object, a list
        )
    )
    + rb")*+",
    re.DOTALL,
)
_LONG_TEXT: Final = re.compile(rb"(\x1a|" + _KEY + rb")([\x80-\xff]+[\x00-\x7f])", re.DOTALL)
_VALUE_OF_KEY: Final = re.compile(rb"\x12" + _NOT_EMPTY)


def has_only_json_values(raw: bytes) -> bool:
    """Whether every value of an encoded Struct is of a kind, and every number finite."""
    position = _end_of(_VALUES, raw, 0)
    while position < len(raw):
        text = _LONG_TEXT.match(raw, position)
        if text is None:
            return False
        size, position = decode_varint(raw, text.start(2))
        position += size
        if text[1] != b"\x1a":
            value = _VALUE_OF_KEY.match(raw, position)
            if value is None:
                return False
            position = value.end()
        position = _end_of(_VALUES, raw, position)
    return True


def is_nested_deeper(raw: bytes, messages: int) -> bool:
    """Whether an encoded Struct, itself counted, nests more messages than an even number of them.

    Protobuf itself decides: it decodes the Struct as the innermost of lists that take the other messages it allows.
    """
    wrapping = b""
    for level in range(_MAX_MESSAGES - messages):
        tag = b"\x0a" if level % 2 else b"\x32" if level else b"\x2a"
        wrapping = tag + encode_varint(len(wrapping) + len(raw)) + wrapping
    try:
        Value.FromString(wrapping + raw)
    except DecodeError:
        return True
    return False


def _end_of(pattern: "re.Pattern[bytes]", raw: bytes, position: int) -> int:
    match = pattern.match(raw, position)
    return position if match is None else match.end()
