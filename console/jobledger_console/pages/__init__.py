"""The pages of the console, in the order of the navigation."""

from typing import Final

from jobledger_console.page import PageKind
from jobledger_console.pages import job, jobs

KINDS: Final[tuple[PageKind, ...]] = (*jobs.KINDS, *job.KINDS)
