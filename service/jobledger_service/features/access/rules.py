"""API keys, their roles, and the callers that they authenticate."""

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final, Self

from jobledger_service.core.model.micros import Micros
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.refusals import ApiKeyExpired, ApiKeyRevoked

TOKEN: Final = re.compile(r"jl_([0-9a-f]{12})_([0-9a-f]{64})")
ID_BYTES: Final = 6
SECRET_BYTES: Final = 32


_purpose: Final = attrgetter("owner", "name", "roles", "served_owners", "all_owners")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A stored key: `digest` is the SHA-256 of the token, which only its holder has."""

    key_id: str
    owner: str
    name: str
    roles: frozenset[Role]
    digest: bytes = field(repr=False)
    create_time: Micros
    expire_time: Micros | None = None
    revoke_time: Micros | None = None
    last_used_time: Micros | None = None
    request_key: str | None = None
    """The owner and the request_id of the request that created it; None without a request_id."""
    served_owners: tuple[str, ...] = ()
    """The owners whose chunks its workers may claim, sorted; its own when empty."""
    all_owners: bool = False
    """Whether its workers may claim the chunks of all owners."""

    @property
    def caller(self) -> Caller:
        """The caller of this key."""
        name = f"{self.name}/{self.key_id}"
        return Caller(self.owner, name, self.key_id, self.roles, self.served_owners, self.all_owners)

    @property
    def within_its_owner(self) -> bool:
        """Whether it gives no right over another owner, so that its owner's admin may manage it."""
        return Role.ADMIN not in self.roles and not self.served_owners and not self.all_owners

    def ended(self, now: Micros) -> bool:
        """Whether the key was revoked or has expired."""
        return self.revoke_time is not None or (self.expire_time is not None and self.expire_time <= now)

    def check(self, now: Micros) -> None:
        """Raise ApiKeyRevoked or ApiKeyExpired when the key has ended."""
        if self.revoke_time is not None:
            raise ApiKeyRevoked(self.key_id)
        if self.expire_time is not None and self.expire_time <= now:
            raise ApiKeyExpired(self.key_id)

    def is_like(self, other: Self) -> bool:
        """Whether equal requests created both: what a retry may compute anew, such as the end, may differ."""
        return bool(_purpose(self) == _purpose(other))

    def is_of(self, digest: bytes) -> bool:
        """Whether a token with this digest is the key's, compared in constant time."""
        return hmac.compare_digest(self.digest, digest)


def token_of(key_id: str, secret: bytes) -> str:
    """Return the token for the key's holder."""
    return f"jl_{key_id}_{secret.hex()}"


def digest_of(token: str) -> bytes:
    """Return the digest of a token. 256 random bits need no slow hash: they cannot be guessed."""
    return hashlib.sha256(token.encode()).digest()
