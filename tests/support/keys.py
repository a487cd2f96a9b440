"""Callers with API keys: a channel that sends one, and a server on which keys are made."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from jobledger.v1.admin_service_pb2 import CreateApiKeyRequest, CreateApiKeyResponse, Role
from jobledger.v1.admin_service_pb2_grpc import AdminServiceStub
from jobledger_service.cli.key_database import client_of_database

from tests.support.api import Api

CALLER, WORKER, ADMIN = Role.ROLE_CALLER, Role.ROLE_WORKER, Role.ROLE_ADMIN
OWNER_ADMIN = Role.ROLE_OWNER_ADMIN


class _Bearer:
    """Adds a key to each call."""

    def __init__(self, token: str) -> None:
        self._pair = ("authorization", f"Bearer {token}")

    def _with_key(self, details: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
        metadata = grpc.aio.Metadata(*(details.metadata or ()), self._pair)
        return details._replace(metadata=metadata)


class _UnaryBearer(_Bearer, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return await continuation(self._with_key(details), request)


class _StreamBearer(_Bearer, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return await continuation(self._with_key(details), request)


class _SendingBearer(_Bearer, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, continuation: Callable[..., Any], details: Any, requests: Any) -> Any:
        return await continuation(self._with_key(details), requests)


class KeyedApi(Api):
    """The services as the holder of a key calls them, through further interceptors of his own."""

    def __init__(self, target: str, token: str, *further: grpc.aio.ClientInterceptor) -> None:
        bearers = [_UnaryBearer(token), _StreamBearer(token), _SendingBearer(token)]
        super().__init__(grpc.aio.insecure_channel(target, interceptors=[*bearers, *further]))
        self.target = target
        self.token = token
        self.admin = AdminServiceStub(self.channel)

    async def make(self, *roles: Role, owner: str = "", name: str = "test", **fields: object) -> CreateApiKeyResponse:
        """Make a key, as an admin."""
        return await self.admin.CreateApiKey(CreateApiKeyRequest(name=name, owner=owner, roles=roles, **fields))


def first_key(database: str) -> str:
    """Make an admin's key in a database that no server has open yet, and return its token."""
    with (
        client_of_database(database) as client,
        ThreadPoolExecutor(1) as thread,  # the test may be within an event loop; the call makes one of its own
    ):
        return thread.submit(client.admin.create_api_key, "first", [ADMIN]).result().token
