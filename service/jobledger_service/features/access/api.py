"""The methods of AdminService about keys. They need no server: a command also runs them on a database."""

from dataclasses import dataclass
from typing import Final

import structlog
from jobledger.v1 import admin_service_pb2 as api

from jobledger_service.core.api.list_requests import checked_page_size
from jobledger_service.core.api.services import ADMIN_SERVICE
from jobledger_service.core.ledger.ports import Clock
from jobledger_service.core.model.access_errors import AuthDisabled
from jobledger_service.transport.identity import Caller, Role
from jobledger_service.transport.methods import Kind, Method

from . import requests as read
from .commands import Keys

log = structlog.get_logger(__name__)

METHODS: Final = (
    Method(ADMIN_SERVICE, "CreateApiKey", Role.ADMIN, Kind.WRITE),
    Method(ADMIN_SERVICE, "ListApiKeys", Role.ADMIN, Kind.READ),
    Method(ADMIN_SERVICE, "RevokeApiKey", Role.ADMIN, Kind.WRITE),
    Method(ADMIN_SERVICE, "RotateApiKey", Role.ADMIN, Kind.WRITE),
)


@dataclass(frozen=True, slots=True)
class KeyCalls:
    """The calls that list, create and end keys; without `keys` the server runs without any."""

    keys: Keys | None
    clock: Clock

    def _enabled_keys(self) -> Keys:
        if self.keys is None:
            raise AuthDisabled
        return self.keys

    async def CreateApiKey(self, request: api.CreateApiKeyRequest, caller: Caller) -> api.CreateApiKeyResponse:
        made = await self._enabled_keys().create(read.new_key(request, caller, self.clock()))
        log.info("key created", key_id=made.key.key_id, owner=made.key.owner, by=caller.name)
        return api.CreateApiKeyResponse(api_key=read.api_key(made.key), token=made.token)

    async def ListApiKeys(self, request: api.ListApiKeysRequest, caller: Caller) -> api.ListApiKeysResponse:  # noqa: ARG002  of all owners
        limit = checked_page_size(request.page_size, default=100, max_size=500)
        owner = read.listed_owner(request.owner)
        page = await self._enabled_keys().page(owner, limit, request.page_token, ended=request.show_ended)
        return api.ListApiKeysResponse(
            api_keys=[read.api_key(key) for key in page.keys], next_page_token=page.next_page_token
        )

    async def RevokeApiKey(self, request: api.RevokeApiKeyRequest, caller: Caller) -> api.RevokeApiKeyResponse:
        key = await self._enabled_keys().revoke(read.key_id(request))
        log.info("key revoked", key_id=key.key_id, owner=key.owner, by=caller.name)
        return api.RevokeApiKeyResponse(api_key=read.api_key(key))

    async def RotateApiKey(self, request: api.RotateApiKeyRequest, caller: Caller) -> api.RotateApiKeyResponse:
        made = await self._enabled_keys().rotate(*read.rotation(request, self.clock()))
        replaced = read.api_key(made.replaced) if made.replaced else None
        log.info("key rotated", key_id=request.key_id, to=made.key.key_id, owner=made.key.owner, by=caller.name)
        return api.RotateApiKeyResponse(api_key=read.api_key(made.key), token=made.token, replaced=replaced)
