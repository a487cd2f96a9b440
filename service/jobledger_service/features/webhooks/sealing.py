"""Stored secrets of webhooks: sealed by the operator's keys, or plain without keys.

A sealed one is a Fernet token: AES-128-CBC and HMAC-SHA256 by one key of 32 bytes. cryptography is an extra.
"""

import base64
import binascii
from typing import TYPE_CHECKING, Final

from jobledger_service.settings import InvalidSettingError, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.fernet import Fernet

PREFIX: Final = "fernet:"
KEY_BYTES: Final = 32
_FLAG: Final = "--secrets-keys"


class UnreadableSecretError(Exception):
    """A secret that was sealed by a missing key; the text names the cause."""


class SecretCipher:
    """Seals by the first key, and unseals secrets of any of the keys; without keys secrets are stored plain."""

    def __init__(self, keys: "Sequence[Fernet]") -> None:
        self._keys = keys

    def seal(self, secret: str) -> str:
        """Return the stored form of a secret."""
        return PREFIX + self._keys[0].encrypt(secret.encode()).decode() if self._keys else secret

    def open(self, kept: str) -> str:
        """Return a secret, also from a plain form; raises UnreadableSecretError."""
        if not kept.startswith(PREFIX):
            return kept
        if not self._keys:
            raise UnreadableSecretError("it is sealed, and this server has no secrets_keys")
        return self._opened(self._keys, kept)

    def is_current(self, kept: str) -> bool:
        """Whether a secret is sealed by the first key; always true without keys."""
        try:
            return not self._keys or (kept.startswith(PREFIX) and bool(self._opened(self._keys[:1], kept)))
        except UnreadableSecretError:
            return False

    def seal_again(self, kept: str) -> str:
        """Return a stored secret sealed by the first key; raises UnreadableSecretError."""
        return kept if self.is_current(kept) else self.seal(self.open(kept))

    @staticmethod
    def _opened(keys: "Sequence[Fernet]", kept: str) -> str:
        from cryptography.fernet import InvalidToken, MultiFernet  # noqa: PLC0415  an extra, there when there is a key

        try:
            return MultiFernet(keys).decrypt(kept.removeprefix(PREFIX)).decode()
        except InvalidToken:
            raise UnreadableSecretError("it was not sealed with any of this server's secrets_keys") from None


def cipher_of(settings: Settings) -> SecretCipher:
    """Return the sealer of the settings; raises InvalidSettingError for an invalid key, or without the library."""
    texts = settings.secrets_keys.split()
    if not texts:
        return SecretCipher([])
    try:
        from cryptography.fernet import Fernet  # noqa: PLC0415  an extra
    except ImportError as error:
        raise InvalidSettingError(f"{_FLAG} needs the extra: pip install 'jobledger-service[seal]' ({error})") from None
    return SecretCipher([Fernet(_key(text, place)) for place, text in enumerate(texts, 1)])


def _key(text: str, place: int) -> bytes:
    """Return a key in Fernet's form; the message of an error does not show the key."""
    try:
        key = base64.b64decode(text.translate(str.maketrans("-_", "+/")), validate=True)
    except binascii.Error:
        raise InvalidSettingError(
            f"{_FLAG}: key {place} must be base64, like that of `openssl rand -base64 32`"
        ) from None
    if len(key) != KEY_BYTES:
        raise InvalidSettingError(f"{_FLAG}: key {place} must have {KEY_BYTES} bytes; got {len(key)}")
    return base64.urlsafe_b64encode(key)
