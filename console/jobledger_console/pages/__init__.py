"""The pages of the console, in the order of the navigation."""

from typing import Final

from jobledger_console.page import PageKind
from jobledger_console.pages import failures, health, job, jobs, limits, statistics, webhooks, workers

KINDS: Final[tuple[PageKind, ...]] = (
    *jobs.KINDS,
    *job.KINDS,
    *workers.KINDS,
    *limits.KINDS,
    *failures.KINDS,
    *statistics.KINDS,
    *webhooks.KINDS,
    *health.KINDS,
)
