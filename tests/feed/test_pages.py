"""Pages of stored history: where they may begin."""

import pytest
from jobledger_service.core.model.refusals.errors import HistoryTrimmed
from jobledger_service.core.watch.pages import Page, Pages

TRIMMED = 5


async def load(after: int, owner: str, job_key: str | None, bare: bool) -> Page:
    return Page((), after, 9, TRIMMED, complete=True)


@pytest.mark.guarantee("3a.6")
async def test_history_is_read_from_the_last_trimmed_position_on_and_not_from_before_it():
    pages = Pages(load)
    assert (await pages.of_job(TRIMMED, "ada/job", bare=False)).after == TRIMMED
    assert (await pages.of_owner(TRIMMED, "ada", bare=False)).after == TRIMMED
    for read in (pages.of_job(TRIMMED - 1, "ada/job", bare=False), pages.of_owner(TRIMMED - 1, "ada", bare=False)):
        with pytest.raises(HistoryTrimmed):
            await read
