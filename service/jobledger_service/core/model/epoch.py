"""An epoch of a ledger: the time from its creation, or from a restore, to the next restore."""

import base64
from hashlib import blake2b
from hmac import compare_digest
from typing import Final
from uuid import UUID

from msgspec import Struct as MsgStruct

MAC_BYTES: Final = 16
MAX_TOKEN: Final = 4_096
"""The length limit of a token, in characters: a place in a list contains a job's key and counts."""


class Epoch(MsgStruct, frozen=True):
    """Creates and reads tokens for callers: `secret` authenticates them, so that nobody can forge one."""

    id: UUID
    secret: bytes

    def sign(self, purpose: bytes, content: bytes) -> str:
        """Return the token that carries `content`; a token is valid for one purpose only."""
        return _encode(self._mac(purpose, content) + content)

    def verify(self, purpose: bytes, token: str) -> bytes | None:
        """Return the content of a token, None unless this epoch created it; raises ValueError for a malformed token."""
        raw = _decode(token)
        mac, content = raw[:MAC_BYTES], raw[MAC_BYTES:]
        return content if compare_digest(mac, self._mac(purpose, content)) else None

    def _mac(self, purpose: bytes, content: bytes) -> bytes:
        """Return the keyed BLAKE2b (RFC 7693) of a content.

        An HMAC of OpenSSL lets go of the interpreter's lock for each token, and waits for it behind another thread.
        """
        signed = self.id.bytes + purpose + b"\0" + content
        return blake2b(signed, key=self.secret, digest_size=MAC_BYTES).digest()


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(token: str) -> bytes:
    """Return the bytes of a token; each has exactly one encoding."""
    if len(token) > MAX_TOKEN:
        raise ValueError("is not a token")
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise ValueError("is not a token") from error
    if len(raw) <= MAC_BYTES or _encode(raw) != token:
        raise ValueError("is not a token")
    return raw
