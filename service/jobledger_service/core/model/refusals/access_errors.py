"""Refusals of what operators ask about keys.

Refusal
├── ApiKeyNotFound        no such key to revoke or to rotate
├── ApiKeyEnded           the key was revoked or has expired, and cannot be rotated
├── TooManyApiKeys        the owner has as many as its own admin may make
└── AuthDisabled          the server runs without keys, and makes none
"""

from .errors import Refusal


class ApiKeyNotFound(Refusal):
    """The key does not exist."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"there is no API key {key_id!r}", key_id=key_id)


class ApiKeyEnded(Refusal):
    """The key was revoked or has expired."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"the API key {key_id} was revoked or has expired: create another", key_id=key_id)


class TooManyApiKeys(Refusal):
    """The owner has the maximum number of keys that its own admin may make."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the owner has reached its limit of {limit} API keys, ended ones included: ask an operator for another",
            limit=str(limit),
        )


class AuthDisabled(Refusal):
    """The server runs without keys, so it cannot know who may create them."""

    def __init__(self) -> None:
        super().__init__(
            "this server runs without API keys and cannot create any:"
            " stop it, run `jobledger-server keys create`, and start it with --auth keys"
        )
