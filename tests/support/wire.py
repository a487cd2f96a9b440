"""Encoded messages as parsers read them that take the last of several values, and merge nothing."""

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.internal.decoder import _DecodeVarint

FIXED = {1: 8, 5: 4}


def repeated_messages(descriptor: Descriptor, raw: bytes, path: str = "") -> Iterator[str]:
    """Yield the path of each field of one message that an encoded message has more than once, at any depth."""
    seen: set[int] = set()
    for number, value in fields(raw):
        field = descriptor.fields_by_number[number]
        if field.type != FieldDescriptor.TYPE_MESSAGE or value is None:
            continue
        where = f"{path}.{field.name}".lstrip(".")
        if not field.is_repeated:
            if number in seen:
                yield where
            seen.add(number)
        yield from repeated_messages(field.message_type, value, where)


def fields(raw: bytes) -> Iterator[tuple[int, bytes | None]]:
    """Yield the number of each field, and its bytes if it has a length."""
    at = 0
    while at < len(raw):
        tag, at = _DecodeVarint(raw, at)
        number, kind = tag >> 3, tag & 7
        if kind == 2:
            size, at = _DecodeVarint(raw, at)
            yield number, raw[at : at + size]
            at += size
        else:
            at = at + FIXED[kind] if kind in FIXED else _DecodeVarint(raw, at)[1]
            yield number, None
