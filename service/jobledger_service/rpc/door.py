"""Lets callers in: says who they are, and turns away those that may not make a call."""

from typing import TYPE_CHECKING, Any, Final

import grpc

from jobledger_service.domain.access import Caller, token_in
from jobledger_service.domain.errors import RoleMissing
from jobledger_service.ledger.keyring import KeyRing

from .identity import ANYBODY
from .methods import Method

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]  # generic in its stubs only
else:
    Context = grpc.aio.ServicerContext

AUTHORIZATION: Final = "authorization"


class Door:
    """Where every call comes in; without a key ring everybody is let in as ANYBODY."""

    def __init__(self, keyring: KeyRing | None) -> None:
        self._keyring = keyring

    async def admit(self, context: Context, method: Method) -> Caller:
        """Return who calls.

        Raises ApiKeyMissing, ApiKeyUnknown, ApiKeyExpired, ApiKeyRevoked, RoleMissing, StoreUnavailable.
        """
        if self._keyring is None:
            return ANYBODY
        caller = await self._keyring.caller(token_in(_authorization(context)))
        if not caller.may(method.role):
            raise RoleMissing(method.name, method.role)
        return caller


def _authorization(context: Context) -> str:
    for name, value in context.invocation_metadata() or ():
        if name == AUTHORIZATION:
            return str(value)
    return ""
