"""API keys: who calls, as what, until when; and what AdminService does with keys."""

from functools import partial
from typing import Final

from jobledger_service.core.duties.trimming import trimming
from jobledger_service.core.duty import RECORD_SECONDS, Duty
from jobledger_service.core.kernel import Feature, Kernel, ServerParts
from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.transport.methods import Calls

from .api import METHODS, KeyCalls, NoKeyCalls
from .keyring import REFRESH_SECONDS, KeyRing
from .store import SqlKeyStore

ROWS_PER_STEP: Final = 500


def _open(kernel: Kernel) -> ServerParts:
    """Open the key ring; without `--auth keys` there is none, and every caller is admitted."""
    read, store = kernel.readers.for_server, SqlKeyStore(kernel.database)
    retention = trimming("key retention", kernel, store.trim, round(kernel.settings.audit_retention * SECOND))
    if kernel.settings.auth != "keys":
        return ServerParts(calls=[Calls(METHODS, NoKeyCalls())], duties=[retention])
    shared = not kernel.database.single_writer
    keyring = KeyRing(lambda after: read(store.changes, after), kernel.clock.calendar, store.changes(0), shared=shared)

    def cancel_calls() -> None:
        kernel.calls.open_calls.cancel_refused(keyring.check)

    async def changed() -> None:
        await keyring.refresh()
        cancel_calls()

    async def refresh() -> bool:
        """Learn what other processes changed, and end the calls of ended keys."""
        try:
            if shared:
                await keyring.refresh()
        finally:
            cancel_calls()
        return False

    async def record_use() -> bool:
        """Record when keys were last used, in steps. A crash loses what was not recorded."""
        used = sorted(keyring.pop_used().items())
        for begin in range(0, len(used), ROWS_PER_STEP):
            step = dict(used[begin : begin + ROWS_PER_STEP])
            await kernel.committer.run_on_writer(partial(store.record_last_used, step), len(step))
        return False

    run_write, run_read = kernel.committer.run_on_writer, kernel.readers.for_owner
    calls = KeyCalls(store, run_write, run_read, kernel.clock.calendar, kernel.random_bytes, kernel.tokens, changed)
    return ServerParts(
        calls=[Calls(METHODS, calls)],
        duties=[
            Duty("keys", refresh, REFRESH_SECONDS),
            Duty("key use", record_use, RECORD_SECONDS),
            retention,
        ],
        authenticate=keyring.caller,
        close=record_use,
    )


feature = Feature(_open)
