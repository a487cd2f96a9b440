"""Commands of a duty over many rows: a row that makes its command fail is set aside, and the others are done."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from jobledger_service.core.database.unreadable_rows import UnreadableRows
from jobledger_service.core.model.refusals.errors import Refusal

Row = TypeVar("Row")


async def submit_bisecting(
    rows: Sequence[Row], submit: Callable[[Sequence[Row]], Awaitable[int]], place: str, unreadable: UnreadableRows
) -> Sequence[Row]:
    """Submit a command over the rows and return those that are left; raises Refusal.

    The command answers with the number of rows that it did. When it fails, another is submitted over the first half,
    down to the failing row, which is left out for a minute.
    """
    rows = [row for row in rows if not unreadable.is_recent(place, str(row))]
    if not rows:
        return rows
    try:
        return rows[await submit(rows) :]
    except Refusal:
        raise
    except Exception as error:  # noqa: BLE001  the one row is logged with it
        if len(rows) == 1:
            unreadable.add(place, str(rows[0]), error)
            return []
    middle = len(rows) // 2
    return [*await submit_bisecting(rows[:middle], submit, place, unreadable), *rows[middle:]]
