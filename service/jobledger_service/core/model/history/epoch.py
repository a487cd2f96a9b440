"""An epoch of a ledger: the time from its creation, or from a restore, to the next restore."""

from binascii import a2b_base64, b2a_base64
from hashlib import blake2b
from hmac import compare_digest
from typing import Final
from uuid import UUID

from msgspec import Struct as MsgStruct

MAC_BYTES: Final = 16
MAX_TOKEN: Final = 4_096
"""The length limit of a token, in characters: a place in a list contains a job's key and counts."""
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_PLAIN: Final = bytes.maketrans(b"-_", b"+/")


class Epoch(MsgStruct, frozen=True):
    """Creates and reads tokens for callers: `secret` authenticates them, so that they cannot be forged."""

    id: UUID
    secret: bytes

    def sign(self, purpose: bytes, content: bytes) -> str:
        """Return the token that carries `content`; a token is valid for one purpose only."""
        return _encode(self._mac(purpose, content) + content).decode()

    def verify(self, purpose: bytes, token: str) -> bytes | None:
        """Return the content of a token, None unless this epoch created it; raises ValueError for a malformed token.

        Each content has exactly one token: base64 would read others too.
        """
        encoded = token.encode() if len(token) <= MAX_TOKEN else b""
        raw = a2b_base64(encoded.translate(_PLAIN) + b"=" * (-len(encoded) % 4))
        if len(raw) <= MAC_BYTES or _encode(raw) != encoded:
            raise ValueError("is not a token")
        content = raw[MAC_BYTES:]
        return content if compare_digest(raw[:MAC_BYTES], self._mac(purpose, content)) else None

    def _mac(self, purpose: bytes, content: bytes) -> bytes:
        """Return the keyed BLAKE2b (RFC 7693) of a content.

        OpenSSL's HMAC releases the interpreter's lock for each token, and waits for it behind another thread.
        """
        signed = self.id.bytes + purpose + b"\0" + content
        return blake2b(signed, key=self.secret, digest_size=MAC_BYTES).digest()


def _encode(raw: bytes) -> bytes:
    return b2a_base64(raw, newline=False).translate(_URL_SAFE).rstrip(b"=")
