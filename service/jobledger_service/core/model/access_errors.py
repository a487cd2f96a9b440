"""Refusals of callers, by their keys and roles.

Refusal
├── ApiKeyMissing         the call carries no API key
├── ApiKeyUnknown         the API key is unknown
├── ApiKeyExpired         the key's time has passed
├── ApiKeyRevoked         the key was revoked
├── RoleMissing           the key does not have the role that the call needs
├── ApiKeyNotFound        no such key to revoke or to rotate
├── ApiKeyEnded           the key was revoked or has expired, and cannot be rotated
└── AuthDisabled          the server runs without keys, and makes none
"""

from typing import Self

from .errors import Refusal


class ApiKeyMissing(Refusal):
    """The call carries no API key."""

    def __init__(self) -> None:
        super().__init__("an API key is required: send the metadata `authorization: Bearer jl_…`")


class ApiKeyUnknown(Refusal):
    """The API key is unknown."""

    def __init__(self) -> None:
        super().__init__("unknown API key: check that it is complete and belongs to this server")


class ApiKeyExpired(Refusal):
    """The key's time has passed."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"the API key {key_id} has expired: ask an admin for another", key_id=key_id)


class ApiKeyRevoked(Refusal):
    """The key was revoked."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"the API key {key_id} was revoked: ask an admin for another", key_id=key_id)


class RoleMissing(Refusal):
    """The key does not have the role that the call needs."""

    def __init__(self, method: str, role: str, why: str = "") -> None:
        or_admin = "" if role == "ADMIN" else ", or ADMIN"
        super().__init__(f"{method} needs a key with the role {role}{or_admin}{why}", method=method, role=role)

    @classmethod
    def of_others(cls, method: str, field: str, owner: str) -> Self:
        """Return the refusal of a request that names another owner than the key's."""
        return cls(method, "ADMIN", f" for a {field} other than the key's own, {owner!r}")


class ApiKeyNotFound(Refusal):
    """The key does not exist."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"there is no API key {key_id!r}", key_id=key_id)


class ApiKeyEnded(Refusal):
    """The key was revoked or has expired."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"the API key {key_id} was revoked or has expired: create another", key_id=key_id)


class AuthDisabled(Refusal):
    """The server runs without keys, so it cannot know who may create them."""

    def __init__(self) -> None:
        super().__init__(
            "this server runs without API keys and cannot create any:"
            " stop it, run `jobledger-server keys create`, and start it with --auth keys"
        )
