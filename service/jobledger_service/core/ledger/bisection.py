"""Commands of a duty over many rows: a row that makes its command fail is set aside, and the others are done."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from jobledger_service.core.model.errors import Refusal
from jobledger_service.core.store.unreadable_rows import UnreadableRows

Row = TypeVar("Row")


async def submit_bisecting(
    rows: Sequence[Row], submit: Callable[[Sequence[Row]], Awaitable[int]], place: str, unreadable: UnreadableRows
) -> None:
    """Submit a command over the rows; when it fails, over either half, down to the failing row. Raises Refusal.

    The command answers with the number of rows that it did: the others are submitted again, behind newer commands. A
    failing row is left out for a minute.
    """
    rows = [row for row in rows if not unreadable.is_recent(place, str(row))]
    while rows:
        try:
            done = await submit(rows)
        except Refusal:
            raise
        except Exception as error:  # noqa: BLE001  the one row is logged with it
            if len(rows) == 1:
                unreadable.add(place, str(rows[0]), error)
                return
            middle = len(rows) // 2
            await submit_bisecting(rows[:middle], submit, place, unreadable)
            done = middle
        rows = rows[done:]
