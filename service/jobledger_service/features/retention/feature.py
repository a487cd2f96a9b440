"""Deletes expired jobs, old events, requests and audit trails."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

from jobledger_service.core.api.codec import ProtoCodec
from jobledger_service.core.duties.due_rows import DueRows
from jobledger_service.core.duties.trimming import ROWS_PER_STEP
from jobledger_service.core.duty import TRIM_SECONDS, Duty
from jobledger_service.core.kernel import Environment, Feature, Kernel, ServerParts
from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.core.write.commands import RemoveExpired
from jobledger_service.core.write.row_families import OpenFamily
from jobledger_service.settings import Settings

from .family import ExpireTimes
from .rules import Retention
from .store import SqlHistoryStore

Result = TypeVar("Result")

JOBS_PER_STEP: Final = 20
EVENTS_PER_STEP: Final = 500
OUTPUTS_PER_STEP: Final = 200


def expired_jobs(kernel: Kernel) -> DueRows[str]:
    """Return the ended jobs that are to be deleted."""
    return DueRows(kernel, "retention", kernel.store.expired_jobs, RemoveExpired, JOBS_PER_STEP, kernel.clock.calendar)


def _open(kernel: Kernel) -> ServerParts:
    """Delete in small steps, so that no caller waits long behind one."""
    codec, settings, expired = ProtoCodec(kernel.unreadable), kernel.settings, expired_jobs(kernel)
    store = SqlHistoryStore(kernel.database, codec.audited, codec.terms)

    def trim(step: Callable[[int, int], Result], before: int, limit: int) -> Awaitable[Result]:
        return kernel.committer.run_on_writer(partial(step, before, limit), limit)

    async def once() -> bool:
        """Delete what is due; return whether there is more."""
        now = kernel.clock.calendar()
        more = await expired.do_step()
        through = await trim(store.trim_events, now - round(settings.event_retention * SECOND), EVENTS_PER_STEP)
        if through is not None:
            kernel.feed.forget(through)
        requests = await trim(store.trim_requests, now, ROWS_PER_STEP)
        run_on_writer = kernel.committer.run_on_writer
        outputs = await run_on_writer(partial(store.trim_outputs, OUTPUTS_PER_STEP), OUTPUTS_PER_STEP)
        trails = await trim(store.trim_audit, now - round(settings.audit_retention * SECOND), ROWS_PER_STEP)
        return more or outputs or through is not None or requests == ROWS_PER_STEP or trails > 0

    return ServerParts(duties=[Duty("retention", once, TRIM_SECONDS)])


def retention_of(settings: Settings) -> Retention:
    """Return the retention of ended jobs."""
    kept = (settings.completed_retention, settings.failed_retention, settings.cancelled_retention)
    return Retention(*(None if seconds is None else round(seconds * SECOND) for seconds in kept))


def _families(environment: Environment) -> list[OpenFamily]:
    return [partial(ExpireTimes, retention_of(environment.settings))]


feature = Feature(_open, _families)
