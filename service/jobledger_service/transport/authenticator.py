"""Authenticates callers, and authorizes their calls."""

from typing import TYPE_CHECKING, Final, Protocol

from .call import Context
from .identity import DEFAULT_CALLER, PUBLIC_CALLER, Caller
from .methods import Method
from .refusals import ApiKeyMissing, MessageTooLarge, RoleMissing

if TYPE_CHECKING:
    from .rate_limiter import RateLimiter

AUTHORIZATION: Final = "authorization"


class Keys(Protocol):
    """The key ring."""

    async def caller(self, token: str) -> Caller:
        """Return the caller of a token; raises ApiKeyUnknown, ApiKeyExpired, ApiKeyRevoked, StoreUnavailable."""


class Authenticator:
    """Authenticates and authorizes calls; without a key ring every caller is DEFAULT_CALLER.

    `message_limit` is in bytes.
    """

    def __init__(self, keyring: Keys | None, rate_limiter: "RateLimiter | None", message_limit: int) -> None:
        self._keyring = keyring
        self._rate_limiter = rate_limiter
        self._message_limit = message_limit

    async def authenticate(self, context: Context, method: Method) -> Caller:
        """Return who calls, PUBLIC_CALLER where no key is needed.

        Raises ApiKeyMissing, ApiKeyUnknown, ApiKeyExpired, ApiKeyRevoked, StoreUnavailable.
        """
        if method.role is None:
            return PUBLIC_CALLER
        if self._keyring is None:
            return DEFAULT_CALLER
        return await self._keyring.caller(token_in(_authorization(context)))

    async def admit(self, caller: Caller, method: Method) -> None:
        """Check the caller's role and rate; raises RoleMissing, RateLimited."""
        if method.role is not None:
            if not caller.may(method.role):
                raise RoleMissing(method.name, method.role)
            if self._rate_limiter is not None:
                await self._rate_limiter.acquire(caller, method.kind)

    def check_size(self, caller: Caller, size: int) -> None:
        """Check the size of a request; raises MessageTooLarge."""
        if size > self._message_limit:
            raise MessageTooLarge(caller.key_id, size, self._message_limit)


def _authorization(context: Context) -> str:
    for name, value in context.invocation_metadata() or ():
        if name == AUTHORIZATION:
            return str(value)
    return ""


def token_in(authorization: str) -> str:
    """Return the token of an `authorization` header; raises ApiKeyMissing."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise ApiKeyMissing
    return token.strip()
