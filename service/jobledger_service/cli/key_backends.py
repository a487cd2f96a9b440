"""Where the commands about API keys are carried out: on a database, or by the AdminService of a running server."""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from google.protobuf.message import Message
from jobledger.v1.admin_service_pb2_grpc import AdminServiceStub

from jobledger_service.core.ledger.paging import PageTokens
from jobledger_service.core.model.errors import Refusal, StoreUnavailable
from jobledger_service.core.store.clock import clock_of
from jobledger_service.core.store.engines import Database, DatabaseInUseError, check_exists, open_database
from jobledger_service.core.store.epochs import read_epoch
from jobledger_service.core.store.migrate import prepare
from jobledger_service.features.access.api import KeyCalls
from jobledger_service.features.access.commands import Keys
from jobledger_service.features.access.store import SqlKeyStore
from jobledger_service.transport.identity import DEFAULT_OWNER, Caller, Role

from .connection import REFUSED, RefusedError, ServerConnection

CALL_TIMEOUT_SECONDS: Final = 10.0
"""Seconds that a server has to answer."""
OPERATOR: Final = Caller(DEFAULT_OWNER, "operator", roles=frozenset({Role.ADMIN}))
"""Who has the database at hand, and so needs no key."""

T = TypeVar("T")


class KeyAdminBackend(Protocol):
    """Makes the calls of AdminService that are about keys."""

    def call(self, method: str, request: Message) -> Any:  # noqa: ANN401  the method's answer
        """Return the answer; raises RefusedError."""


@dataclass(frozen=True, slots=True)
class DatabaseKeyAdmin:
    """Works on a database itself: of SQLite one that no server has open, of PostgreSQL any."""

    database: str

    def call(self, method: str, request: Message) -> Any:  # noqa: ANN401  the method's answer
        """Return the answer; raises RefusedError, and what opening a database raises.

        Only the first key makes a database: a misspelt path would else be one without keys.
        """
        if method != "CreateApiKey":
            check_exists(self.database)
        with closing(self._open()) as database:
            prepare(database)
            with database.read() as connection:
                tokens = PageTokens(read_epoch(connection))
            clock = clock_of(database)
            keys = Keys(SqlKeyStore(database), _run_now, _run_now, clock, secrets.token_bytes, _notify_nobody, tokens)
            calls = KeyCalls(keys, clock)
            try:
                return asyncio.run(getattr(calls, method)(request, OPERATOR))
            except StoreUnavailable:
                raise
            except Refusal as refusal:
                raise RefusedError(str(refusal), REFUSED) from None

    def _open(self) -> Database:
        try:
            return open_database(self.database)
        except DatabaseInUseError as error:
            hint = "use that server: --server HOST:PORT with an admin's key in --api-key"
            raise DatabaseInUseError(f"{error}: {hint}") from None


async def _run_now(work: Callable[[], T], /) -> T:
    return work()


async def _notify_nobody() -> None:
    """Do nothing: the servers of a shared database look for themselves."""


@dataclass(frozen=True, slots=True)
class ServerKeyAdmin:
    """Asks a running server."""

    connection: ServerConnection

    def call(self, method: str, request: Message) -> Any:  # noqa: ANN401  the method's answer
        """Return the answer; raises RefusedError."""
        return self.connection.call(AdminServiceStub, method, request, CALL_TIMEOUT_SECONDS)
