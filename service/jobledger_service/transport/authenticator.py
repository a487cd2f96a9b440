"""Lets callers in: says who they are, and turns away those that may not make a call."""

from typing import TYPE_CHECKING, Final, Protocol

from jobledger_service.core.model.access_errors import ApiKeyMissing, RoleMissing
from jobledger_service.core.model.limit_errors import MessageTooLarge

from .call import Context
from .identity import ANYBODY, NOBODY, Caller
from .methods import Method

if TYPE_CHECKING:
    from .rate_limiter import Rates

AUTHORIZATION: Final = "authorization"


class Keys(Protocol):
    """Who knows the keys."""

    async def caller(self, token: str) -> Caller:
        """Return who calls with a token; raises ApiKeyUnknown, ApiKeyExpired, ApiKeyRevoked, StoreUnavailable."""


class Door:
    """Where every call comes in; without a key ring everybody is let in as ANYBODY, without rates as often as wanted.

    `message_limit` is in bytes.
    """

    def __init__(self, keyring: Keys | None, rates: "Rates | None", message_limit: int) -> None:
        self._keyring = keyring
        self._rates = rates
        self._message_limit = message_limit

    async def identify(self, context: Context, method: Method) -> Caller:
        """Return who calls, NOBODY where no key is needed.

        Raises ApiKeyMissing, ApiKeyUnknown, ApiKeyExpired, ApiKeyRevoked, StoreUnavailable.
        """
        if method.role is None:
            return NOBODY
        if self._keyring is None:
            return ANYBODY
        return await self._keyring.caller(token_in(_authorization(context)))

    async def admit(self, caller: Caller, method: Method) -> None:
        """Let in a call; raises RoleMissing, RateLimited."""
        if method.role is not None:
            if not caller.may(method.role):
                raise RoleMissing(method.name, method.role)
            if self._rates is not None:
                await self._rates.take(caller, method.kind)

    def check_size(self, caller: Caller, size: int) -> None:
        """Let in a request of so many bytes; raises MessageTooLarge."""
        if size > self._message_limit:
            raise MessageTooLarge(caller.key_id, size, self._message_limit)


def _authorization(context: Context) -> str:
    for name, value in context.invocation_metadata() or ():
        if name == AUTHORIZATION:
            return str(value)
    return ""


def token_in(authorization: str) -> str:
    """Return what an `authorization` header says is a token; raises ApiKeyMissing."""
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise ApiKeyMissing
    return token.strip()
