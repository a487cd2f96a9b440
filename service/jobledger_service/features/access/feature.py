"""The part of the composition root that lets callers in and keeps account of them: keys, TLS, rates, usage."""

import secrets
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import structlog

from jobledger_service.core.ledger.committer import Committer
from jobledger_service.core.ledger.current_call import begin_call
from jobledger_service.core.ledger.ports import Clock
from jobledger_service.core.ledger.queries import OPERATORS, Queries
from jobledger_service.core.ledger.shares import Shares
from jobledger_service.core.store.engines import Database
from jobledger_service.settings import InvalidSettingError, Settings
from jobledger_service.transport.authenticator import Authenticator
from jobledger_service.transport.in_flight import InFlight
from jobledger_service.transport.methods import Kind
from jobledger_service.transport.open_calls import OpenCalls
from jobledger_service.transport.rpc_server import CallControls
from jobledger_service.transport.tls import Certificates, Files
from jobledger_service.transport.usage import Usage

from .api import KeyCalls
from .commands import Keys
from .duty import KeyDuty
from .keyring import REFRESH_SECONDS, KeyChanges, KeyRing
from .store import SqlKeyStore

if TYPE_CHECKING:
    from jobledger_service.transport.rate_limiter import RateLimiter

log = structlog.get_logger(__name__)


class Access:
    """What of a server concerns who calls. Without `--auth keys` there is no key ring, and everybody is let in."""

    def __init__(
        self, settings: Settings, database: Database, committer: Committer, queries: Queries, clock: Clock, usage: Usage
    ) -> None:
        self._settings = settings
        self._shared = not database.single_writer
        self._committer = committer
        self._queries = queries
        self._clock = clock
        self._keys = SqlKeyStore(database)
        self._keyring = self._open_keyring() if settings.auth == "keys" else None
        per_key = settings.watches_without_keys if self._keyring is None else settings.watches_per_key
        self._open_calls = OpenCalls(per_key, settings.watches_per_owner)
        self._rate_limiter = rate_limiter_of(settings)
        authenticator = Authenticator(self._keyring, self._rate_limiter, settings.message_limit)
        self.in_flight = InFlight(
            settings.calls_limit,
            settings.memory_limit,
            settings.message_limit,
            Shares,
            committer.check_owner,
            begin_call,
        )
        self.calls = CallControls(authenticator, self.in_flight, self._open_calls, usage)

    def key_calls(self) -> KeyCalls:
        """Return the calls of operators about keys."""
        return KeyCalls(self._open_keys(), self._clock)

    def take_used(self) -> dict[str, int]:
        """Return which keys were used since this was last asked, and when."""
        return self._keyring.pop_used() if self._keyring else {}

    def note_used(self, used: dict[str, int]) -> None:
        """Note when keys were last used, in a transaction of the writer's."""
        self._keys.record_last_used(used)

    def _open_keyring(self) -> KeyRing:
        async def read(after: int) -> KeyChanges:
            return await self._queries.run(self._keys.changes, after)

        return KeyRing(read, self._clock, self._keys.changes(0), shared=self._shared)

    def _open_keys(self) -> Keys | None:
        keyring = self._keyring
        if keyring is None:
            return None

        async def changed() -> None:
            await keyring.refresh()
            self._open_calls.cancel_refused(keyring.check)

        writing, reading = self._committer.run_on_writer, partial(self._queries.run_for, OPERATORS)
        return Keys(self._keys, writing, reading, self._clock, secrets.token_bytes, changed, self._queries.tokens)

    async def rate_store_is_up(self) -> bool:
        """Whether calls are counted where the operator wants it; always when there are no rates."""
        return self._rate_limiter is None or await self._rate_limiter.check_store()

    def duties(self) -> Iterator[tuple[str, Callable[[], Awaitable[bool]], float]]:
        """Yield what is to be done over and over: its name, how, and every how many seconds."""
        if self._keyring is not None:
            cancel_calls = partial(self._open_calls.cancel_refused, self._keyring.check)
            yield "keys", KeyDuty(self._keyring, self._shared, cancel_calls).once, REFRESH_SECONDS


def certificates_of(settings: Settings) -> Certificates | None:
    """Return what TLS is spoken with, None for no TLS; raises CertificateError."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return Certificates(Files(settings.tls_cert, settings.tls_key, settings.tls_client_ca))


def rate_limiter_of(settings: Settings) -> "RateLimiter | None":
    """Return how often keys may call, None when there is no bound; raises InvalidSettingError."""
    given = {
        Kind.READ: settings.rate_limit_read,
        Kind.WRITE: settings.rate_limit_write,
        Kind.WATCH: settings.rate_limit_watch,
    }
    rates = {kind: rate for kind, rate in given.items() if rate is not None}
    if not rates:
        return None
    from jobledger_service.transport.rate_limiter import InvalidRateError, RateLimiter  # noqa: PLC0415  most servers start 40 ms earlier without it

    try:
        return RateLimiter(rates, settings.rate_limit_store)
    except InvalidRateError as error:
        raise InvalidSettingError(f"--rate-limit-…: {error}") from error
