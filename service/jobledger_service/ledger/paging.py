"""Page tokens: opaque, and bound to the request that they continue."""

import base64
import binascii
import hashlib
import json
import re
import zlib
from typing import Final

from msgspec import Struct
from msgspec.structs import asdict

from jobledger_service.domain.errors import PageTokenInvalid

_MARK: Final = 12
_INTEGERS: Final = 2**63
_UNFIT: Final = re.compile("[\x00\ud800-\udfff]")
_CHECKSUM: Final = 4


def request_mark(*parts: object) -> str:
    """Return a short mark of what a request asks for, apart from the page; mappings and sets count by content."""
    said = repr([_plain(part) for part in parts])
    return hashlib.sha256(said.encode()).hexdigest()[:_MARK]


def _plain(part: object) -> object:
    if isinstance(part, set | frozenset):
        return sorted(map(str, part))
    if hasattr(part, "items"):
        return sorted(part.items())
    if isinstance(part, Struct):
        return [(name, _plain(value)) for name, value in asdict(part).items()]
    return part


def _checksum(raw: bytes) -> bytes:
    """Tell a token that was damaged on its way; it is no secret."""
    return zlib.crc32(raw).to_bytes(_CHECKSUM)


class PageToken(Struct, frozen=True):
    """Where the next page begins: `values` are the place, `mark` is the request that it continues."""

    mark: str
    values: tuple[int | str, ...]

    def encode(self) -> str:
        """Return the token that callers carry."""
        raw = json.dumps([self.mark, *self.values], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(_checksum(raw) + raw).decode().rstrip("=")


def _fits(value: object, type_: type) -> bool:
    """Whether a database can take a value as one of this type."""
    if type(value) is not type_:
        return False
    if isinstance(value, int):
        return abs(value) < _INTEGERS
    return not _UNFIT.search(str(value))


def parse_page_token(token: str, mark: str, *types: type, field: str = "page_token") -> tuple[int | str, ...] | None:
    """Return the place that a token names, None for an empty one; raises PageTokenInvalid for that field."""
    if not token:
        return None
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        check, raw = raw[:_CHECKSUM], raw[_CHECKSUM:]
        if check != _checksum(raw):
            raise PageTokenInvalid("is damaged", field)
        found, *values = json.loads(raw)
    except (binascii.Error, ValueError, TypeError) as error:
        raise PageTokenInvalid("is damaged", field) from error
    if len(values) != len(types) or not all(map(_fits, values, types)):
        raise PageTokenInvalid("is damaged, or of another method", field)
    if found != mark:
        raise PageTokenInvalid("belongs to another request", field)
    return tuple(values)
