"""Concurrency limits and paused kinds: LimitService, the granting of free slots, and a recount of what limits count."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from jobledger_service.core.database.maintenance.derived_tables import DerivedTable
from jobledger_service.core.database.rows.paused_kinds import PausedKindRows
from jobledger_service.core.duties.failing_rows import submit_rows
from jobledger_service.core.duties.trimming import trimming
from jobledger_service.core.duty import Duty
from jobledger_service.core.kernel import Environment, Feature, Kernel, ServerParts
from jobledger_service.core.write.batch import Commit
from jobledger_service.core.write.row_families import OpenFamily
from jobledger_service.transport.methods import Calls

from .api import METHODS, LimitService
from .commands import GrantSlots
from .family import Limits, PausedKinds
from .recount import correct_limits
from .store import SLOTS_DUE, VALUES_DUE, LimitRows, LimitStore
from .tables import limits

JOBS_PER_STEP: Final = 500
VALUES_PER_STEP: Final = 500


def _open(kernel: Kernel) -> ServerParts:
    store = LimitStore(kernel.database)

    async def grant_free_slots() -> bool:
        """Grant slots that a cheap read found free, unless they were taken since; return whether there may be more."""
        granted = 0

        async def grant(job_keys: Sequence[str]) -> int:
            nonlocal granted
            count, done = await kernel.committer.submit(GrantSlots(job_keys))
            granted += count
            return done

        jobs: Sequence[str] = await kernel.readers.for_server(store.free_slots, JOBS_PER_STEP)
        while jobs:
            jobs = await submit_rows(jobs, grant, "slots", kernel.unreadable)
        return granted > 0

    async def spread_numbers() -> bool:
        """Copy the number of a limit for each value to rows of values; return whether there are more."""
        step = partial(store.spread, VALUES_PER_STEP)
        spread = await kernel.committer.run_on_writer(step, VALUES_PER_STEP)
        slots.wake_event.set()
        return spread == VALUES_PER_STEP

    slots = Duty("slots", grant_free_slots, due=SLOTS_DUE)
    values = Duty("limit values", spread_numbers, due=VALUES_DUE)

    def on_commit(commit: Commit) -> None:
        if Limits in commit.due:
            slots.wake_event.set()

    return ServerParts(
        calls=[Calls(METHODS, LimitService(kernel, store))],
        duties=[slots, values, trimming("limit retention", kernel, lambda _, limit: store.trim(limit), kept=0)],
        on_commit=on_commit,
    )


def _families(environment: Environment) -> list[OpenFamily]:
    dialect = environment.database.dialect
    return [partial(Limits, LimitRows(dialect)), partial(PausedKinds, PausedKindRows(dialect))]


feature = Feature(_open, _families, [DerivedTable(limits.name, correct_limits)])
