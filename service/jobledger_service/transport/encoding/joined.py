"""Encoded messages put together without decoding them (https://protobuf.dev/programming-guides/encoding/)."""

from functools import lru_cache

from google.protobuf.descriptor import FieldDescriptor

_LENGTH_DELIMITED = 2


def field(descriptor: FieldDescriptor, raw: bytes) -> bytes:
    """Return the encoding of a field whose value is an encoded message, a string or bytes.

    Encode a field of a message once: some parsers take the last of several and do not merge them.
    """
    return _tag(descriptor) + encode_varint(len(raw)) + raw


def head(descriptor: FieldDescriptor, size: int) -> bytes:
    """Return what precedes the content of such a field, of `size` bytes."""
    return _tag(descriptor) + encode_varint(size)


@lru_cache
def _tag(descriptor: FieldDescriptor) -> bytes:
    return encode_varint(descriptor.number << 3 | _LENGTH_DELIMITED)


@lru_cache(maxsize=4096)
def encode_varint(value: int) -> bytes:
    """Return a number that is not negative in protobuf's encoding."""
    encoded = bytearray()
    while value > 0x7F:  # noqa: PLR2004  the seven bits of a byte
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*encoded, value))
