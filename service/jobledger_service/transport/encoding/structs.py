"""What a Struct may hold: everything that JSON can say, no deeper than what still fits into every reply.

An encoded reply may nest 100 messages. An object within a Struct takes three of them, a list two, and the messages
around a Struct up to six.

Encoded Structs are checked at the speed of C: a large one may have 15,000 values, and no Python runs for each of them.
What is checked is what protobuf writes: of a map's entry first the key, then the value, and both always.
"""

import re
from collections.abc import Iterator
from math import isfinite
from typing import Final

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from msgspec import json

from .fields import decode_varint
from .joined import encode_varint

MAX_DEPTH: Final = 24
"""Objects within one another, the Struct itself counted. Three lists count as two objects."""
_MAX_SHOWN_DEPTH: Final = 30
"""What fits into every reply just so. Structs of an earlier version may be so deep."""
_OBJECT: Final = 3
_LIST: Final = 2
"""Messages that each takes: itself, the value in it, and an object also the entry of its key."""
BROKEN: Final = f"must have only values that JSON can hold, at most {MAX_DEPTH} levels deep"
"""The rule in general, for a Struct that is not walked through."""
_TOO_DEEP: Final = f"must be nested at most {MAX_DEPTH} levels deep"
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_MAX_SHOWN: Final = 64

_NOT_FINITE: Final = re.compile(rb"\x11.{6}[\xf0-\xff][\x7f\xff]", re.DOTALL)
"""number_value, with every bit of a double's exponent set: each NaN and each infinity looks so."""
_VALUE_OF_MAP: Final = b"\x12\x00"
_VALUE_OF_LIST: Final = b"\x0a\x00"
_CONTAINERS: Final = (b"\x2a", b"\x32")
"""The tags of struct_value and list_value."""

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

Violation = tuple[str, str]
"""A field and the rule that it breaks."""


def broken_rules(field: str, struct: Struct, raw: bytes) -> Iterator[Violation]:
    """Yield the rules that a Struct breaks; `raw` is its encoding, which is checked first.

    Only a Struct that is known to break a rule is walked through, to name the place.
    """
    if is_broken(raw):
        yield from _struct(field, struct, MAX_DEPTH * _OBJECT)


def check_shown(field: str, raw: bytes | None) -> None:
    """Raise ValueError for a stored Struct that gRPC, or JSON, cannot hold."""
    if raw is None or not is_broken(raw, _MAX_SHOWN_DEPTH):
        return
    for path, rule in _struct(field, Struct.FromString(raw), _MAX_SHOWN_DEPTH * _OBJECT):
        raise ValueError(f"{path}: {rule}")


def check_encodable(field: str, raw: bytes | None) -> None:
    """Raise ValueError for a stored Struct that is nested deeper than a reply can be."""
    if raw is not None and _is_too_deep(raw, _MAX_SHOWN_DEPTH):
        raise ValueError(f"{field}: {_TOO_DEEP}")


def is_broken(raw: bytes, levels: int = MAX_DEPTH) -> bool:
    """Return whether the encoding of a Struct holds what JSON cannot say, or more than so many levels."""
    return _is_too_deep(raw, levels) or (_may_have_odd_values(raw) and not _has_only_json_values(raw))


def _is_too_deep(raw: bytes, levels: int) -> bool:
    return sum(map(raw.count, _CONTAINERS)) >= MAX_DEPTH and _is_nested_deeper(raw, levels * _OBJECT)


def _may_have_odd_values(raw: bytes) -> bool:
    """Whether there are bytes such as values without a kind have, and numbers that are not finite: mostly not."""
    return (
        # One byte is found many times faster than two, and text has no zeros.
        (b"\x00" in raw and (_VALUE_OF_MAP in raw or _VALUE_OF_LIST in raw)) or _NOT_FINITE.search(raw) is not None
    )


def _has_only_json_values(raw: bytes) -> bool:
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


def _is_nested_deeper(raw: bytes, messages: int) -> bool:
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


def _struct(field: str, struct: Struct, messages: int) -> Iterator[Violation]:
    """Yield the broken rules of an object that may nest this many messages, including itself."""
    if messages < (_OBJECT if struct.fields else 1):
        yield field, _TOO_DEEP
        return
    for name, value in struct.fields.items():
        yield from _value(_below(field, name), value, messages - _OBJECT)


def _list(field: str, values: ListValue, messages: int) -> Iterator[Violation]:
    if messages < (_LIST if values.values else 1):
        yield field, _TOO_DEEP
        return
    for index, value in enumerate(values.values):
        yield from _value(f"{field}[{index}]", value, messages - _LIST)


def _value(field: str, value: Value, messages: int) -> Iterator[Violation]:
    match value.WhichOneof("kind"):
        case "number_value":
            if not isfinite(value.number_value):
                yield field, f"value {value.number_value} must be a finite number; send null, or a string"
        case "struct_value":
            yield from _struct(field, value.struct_value, messages)
        case "list_value":
            yield from _list(field, value.list_value, messages)
        case None:
            yield field, "must have a value; send null_value for null"


def _below(field: str, name: str) -> str:
    if _PLAIN_KEY.fullmatch(name):
        return f"{field}.{name}"
    shown = name if len(name) <= _MAX_SHOWN else f"{name[:_MAX_SHOWN]}…"
    return f"{field}[{json.encode(shown).decode()}]"
