"""What is kept only for a time: ended jobs, their history, and requests."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from jobledger_service.core.duties.due_rows import DueRows
from jobledger_service.core.duties.trimming import ROWS_PER_STEP
from jobledger_service.core.kernel import Kernel
from jobledger_service.core.ledger.commands import RemoveExpired
from jobledger_service.core.model.limits import SECOND

from .store import SqlHistoryStore

Result = TypeVar("Result")

JOBS_PER_STEP: Final = 20
EVENTS_PER_STEP: Final = 500
OUTPUTS_PER_STEP: Final = 200
VERSIONS_PER_STEP: Final = 1_000


def expired_jobs(kernel: Kernel) -> DueRows[str]:
    """Return the ended jobs that are to be deleted."""
    return DueRows(
        kernel,
        "retention",
        lambda limit, but: kernel.store.expired_jobs(kernel.clock(), limit, but),
        RemoveExpired,
        JOBS_PER_STEP,
    )


@dataclass(frozen=True, slots=True)
class RetentionDuty:
    """Forgets in small steps, on the writer's thread, so that no caller waits long behind it."""

    kernel: Kernel
    store: SqlHistoryStore
    expired: DueRows[str]

    async def once(self) -> bool:
        """Delete what is due; return whether there is more."""
        kernel, now = self.kernel, self.kernel.clock()
        more_jobs = await self.expired.do_step()
        events_before = now - round(kernel.settings.event_retention * SECOND)
        through = await self._trim(self.store.trim_events, events_before, EVENTS_PER_STEP)
        if through is not None:
            kernel.feed.forget(through)
        requests = await self._trim(self.store.trim_requests, now, ROWS_PER_STEP)
        run_on_writer = kernel.committer.run_on_writer
        outputs = await run_on_writer(lambda: self.store.trim_outputs(OUTPUTS_PER_STEP), OUTPUTS_PER_STEP)
        versions = await run_on_writer(lambda: self.store.trim_versions(VERSIONS_PER_STEP), VERSIONS_PER_STEP)
        audit_before = now - round(kernel.settings.audit_retention * SECOND)
        trails = await self._trim(self.store.trim_audit, audit_before, ROWS_PER_STEP)
        more = through is not None or requests == ROWS_PER_STEP or trails > 0
        return more_jobs or outputs or versions or more

    def _trim(self, trim: Callable[[int, int], Result], before: int, limit: int) -> Awaitable[Result]:
        return self.kernel.committer.run_on_writer(lambda: trim(before, limit), limit)
