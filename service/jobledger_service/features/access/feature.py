"""API keys: who calls, as what, until when; and what AdminService does with keys."""

from functools import partial

import structlog

from jobledger_service.core.kernel import Feature, Kernel
from jobledger_service.core.ledger.duty import Duty
from jobledger_service.core.ledger.queries import OPERATORS
from jobledger_service.core.model.errors import Refusal
from jobledger_service.transport.methods import Calls

from .api import METHODS, KeyCalls
from .commands import Keys
from .duty import KeyDuty, KeyUseDuty
from .keyring import REFRESH_SECONDS, KeyChanges, KeyRing
from .store import SqlKeyStore

log = structlog.get_logger(__name__)


def access(kernel: Kernel) -> Feature:
    """Return what keys add to a server. Without `--auth keys` there is no key ring, and everybody is let in."""
    if kernel.settings.auth != "keys":
        return Feature(calls=[Calls(METHODS, KeyCalls(None, kernel.clock))])
    store, shared = SqlKeyStore(kernel.database), not kernel.database.single_writer

    async def read(after: int) -> KeyChanges:
        return await kernel.queries.run(store.changes, after)

    keyring = KeyRing(read, kernel.clock, store.changes(0), shared=shared)
    cancel_calls = partial(kernel.open_calls.cancel_refused, keyring.check)
    use = KeyUseDuty(keyring, store, kernel.committer)

    async def record_last() -> None:
        try:
            await use.once()
        except Refusal as refusal:
            log.warning("when keys were last used was lost", why=str(refusal))

    return Feature(
        calls=[Calls(METHODS, KeyCalls(_keys(kernel, store, keyring), kernel.clock))],
        duties=[
            Duty("keys", KeyDuty(keyring, shared, cancel_calls).once, REFRESH_SECONDS),
            Duty("key use", use.once, kernel.settings.usage_interval),
        ],
        keys=keyring,
        close=record_last,
    )


def _keys(kernel: Kernel, store: SqlKeyStore, keyring: KeyRing) -> Keys:
    async def changed() -> None:
        await keyring.refresh()
        kernel.open_calls.cancel_refused(keyring.check)

    writing, reading = kernel.committer.run_on_writer, partial(kernel.queries.run_for, OPERATORS)
    return Keys(store, writing, reading, kernel.clock, kernel.random_bytes, changed, kernel.queries.tokens)
