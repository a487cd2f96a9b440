"""A client whose calls about API keys are carried out on a database, for where no server runs yet."""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import grpc
from jobledger.v1.admin_service_pb2 import ListApiKeysResponse
from jobledger_client import JobClient

from jobledger_service.core.api.errors import refused_by_core
from jobledger_service.core.database.clock import clock_of
from jobledger_service.core.database.engines import Database, DatabaseInUseError, check_exists, open_database
from jobledger_service.core.database.maintenance.epochs import read_epoch
from jobledger_service.core.database.maintenance.migrate import prepare
from jobledger_service.core.model.refusals.errors import Refusal, StoreUnavailable
from jobledger_service.core.read.paging import PageTokens
from jobledger_service.features.access.api import KeyCalls
from jobledger_service.features.access.store import SqlKeyStore
from jobledger_service.transport.identity import DEFAULT_OWNER, Caller, Role

OPERATOR: Final = Caller(DEFAULT_OWNER, "operator", roles=frozenset({Role.ADMIN}))
"""Who has the database at hand, and so needs no key."""

T = TypeVar("T")


def client_of_database(database: str) -> JobClient:
    """Return a client for calls about keys, on an SQLite database that no server has open, or any of PostgreSQL.

    Its calls raise what opening a database raises, too.
    """
    unconnected = grpc.insecure_channel("localhost")
    return JobClient(channel=grpc.intercept_channel(unconnected, _KeyDatabase(database)), api_key="")


@dataclass(frozen=True, slots=True)
class _KeyDatabase(grpc.UnaryUnaryClientInterceptor):
    """Carries out calls on a database instead of sending them."""

    database: str

    def intercept_unary_unary(self, continuation: object, client_call_details: Any, request: Any) -> Any:  # noqa: ANN401, ARG002  of any method
        reply: Future[Any] = Future()
        reply.set_result(self._call(client_call_details.method.rpartition("/")[2], request))
        return reply

    def _call(self, method: str, request: Any) -> Any:  # noqa: ANN401  of any method
        """Return the reply; only the first key makes a database: a misspelt path would else be one without keys."""
        if method != "CreateApiKey":
            check_exists(self.database)
        with closing(self._open()) as database:
            prepare(database)
            with database.read() as connection:
                tokens = PageTokens(read_epoch(connection), database.history, _see_nothing_later)
            store = SqlKeyStore(database)
            clock = clock_of(database).calendar
            calls = KeyCalls(store, _run_now, _read_now, clock, secrets.token_bytes, tokens, _notify_nobody)
            try:
                reply = asyncio.run(getattr(calls, method)(request, OPERATOR))
                return ListApiKeysResponse.FromString(reply) if isinstance(reply, bytes) else reply
            except StoreUnavailable:
                raise
            except Refusal as refusal:
                refused = refused_by_core(refusal, _no_cursor, lambda: False)
                assert refused is not None  # noqa: S101  the core knows its refusals
                raise _RefusedCall(refused.status) from None

    def _open(self) -> Database:
        try:
            return open_database(self.database)
        except DatabaseInUseError as error:
            hint = "use that server: --target HOST:PORT with an admin's key in --api-key"
            raise DatabaseInUseError(f"{error}: {hint}") from None


class _RefusedCall(grpc.RpcError):
    """A refusal with the status that a server would answer."""

    def __init__(self, status: grpc.Status) -> None:
        super().__init__(status.details)
        self._status = status

    def code(self) -> grpc.StatusCode:
        return self._status.code

    def details(self) -> str:
        return self._status.details

    def trailing_metadata(self) -> Any:  # noqa: ANN401  as gRPC has it
        return self._status.trailing_metadata


def _no_cursor(position: int) -> bytes:
    raise AssertionError(f"no call about keys is refused with a cursor; got position {position}")


async def _run_now(work: Callable[[], T], /) -> T:
    return work()


async def _read_now(_owner: str, read: Callable[[], bytes], /) -> bytes:
    return read()


async def _see_nothing_later() -> None:
    """No other process's tokens are read here."""


async def _notify_nobody() -> None:
    """Do nothing: the servers of a shared database look for themselves."""
