"""Decodes large requests in parts, after their entries are counted: nothing else runs while protobuf decodes a part."""

from collections import Counter
from typing import Final, TypeVar, cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message

from jobledger_service.transport.refusals import MalformedRequest

M = TypeVar("M", bound=Message)

MAX_ENTRIES: Final = 20_000
"""What one message of a request may hold: its fields, and each entry of its lists and maps.

No valid one holds more: the longest list has 10,000 entries, with at most some hundred fields and labels beside it, and
a list in a Struct of 64 KiB has at most 16,384 values, for the shortest one takes four bytes.
"""
_UNCOUNTED_BYTES: Final = 2 * MAX_ENTRIES
"""A message that is no larger holds no more: each entry takes two bytes at least."""
_PART_BYTES: Final = 65_536
_MAX_NESTED: Final = 100
"""The messages within one another that protobuf decodes."""
_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES: Final = {_FIXED64: 8, _FIXED32: 4}
_MAX_SHIFT: Final = 63


def decode(message_type: type[M], raw: bytes) -> M:
    """Return an encoded message; raises DecodeError, and MalformedRequest before anything of it is decoded."""
    if len(raw) <= _UNCOUNTED_BYTES:
        return message_type.FromString(raw)
    try:
        ends = _count(cast("Descriptor", message_type.DESCRIPTOR), raw, (0, len(raw)), ())
    except IndexError:
        raise DecodeError from None
    message, start = message_type(), 0
    for end in ends:
        if end - start >= _PART_BYTES or end == len(raw):
            message.MergeFromString(raw[start:end])
            start = end
    return message


def _count(message: Descriptor, raw: bytes, within: tuple[int, int], path: tuple[str, ...]) -> list[int]:
    """Return where each field of an encoded message ends, once its entries and those of large messages in it are few.

    Raises DecodeError and IndexError, also for groups, which no message here has.
    """
    position, end = within
    ends: list[int] = []
    tags: list[int] = []
    while position < end:
        tag, position = decode_varint(raw, position)
        wire_type, start = tag & 7, position
        if wire_type == _VARINT:
            position = decode_varint(raw, position)[1]
        elif wire_type == _LENGTH_DELIMITED:
            size, start = decode_varint(raw, position)
            position = start + size
        elif wire_type in _FIXED_BYTES:
            position += _FIXED_BYTES[wire_type]
        else:
            raise DecodeError
        ends.append(position)
        tags.append(tag)
        if len(ends) > MAX_ENTRIES:
            named = _name(message, Counter(tags).most_common(1)[0][0])
            raise MalformedRequest(f"must have at most {MAX_ENTRIES} entries", ".".join((*path, named)))
        if position - start > _UNCOUNTED_BYTES and wire_type == _LENGTH_DELIMITED:
            field = message.fields_by_number.get(tag >> 3)
            if field is not None and field.message_type is not None and position <= end:
                if len(path) == _MAX_NESTED:
                    raise DecodeError
                named = f"{field.name}[{tags.count(tag) - 1}]" if field.is_repeated else field.name
                _count(field.message_type, raw, (start, position), (*path, named))
    if position != end:
        raise DecodeError
    return ends


def _name(message: Descriptor, tag: int) -> str:
    field = message.fields_by_number.get(tag >> 3)
    return str(tag >> 3) if field is None else field.name


def decode_varint(raw: bytes, position: int) -> tuple[int, int]:
    """Return a number, and where it ends; raises DecodeError, IndexError."""
    value = shift = 0
    while shift <= _MAX_SHIFT:
        byte = raw[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte <= 0x7F:  # noqa: PLR2004  the seven bits of a byte
            return value, position
        shift += 7
    raise DecodeError
