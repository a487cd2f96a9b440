"""Commands of a duty over many rows: a row that makes its command fail is set aside, and the others are done."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from jobledger_service.core.database.unreadable_rows import UnreadableRows
from jobledger_service.core.halving import Halving
from jobledger_service.core.model.refusals.errors import Refusal

Row = TypeVar("Row")


async def submit_rows(
    rows: Sequence[Row], submit: Callable[[Sequence[Row]], Awaitable[int]], place: str, unreadable: UnreadableRows
) -> Sequence[Row]:
    """Submit a command over the rows and return those that it did not reach; raises Refusal.

    The command answers with the number of rows that it did. A row at which it fails is left out for a minute; the rows
    behind it are returned.
    """
    parts = Halving([row for row in rows if not unreadable.is_recent(place, str(row))])
    for part in parts:
        try:
            done = await submit(part)
        except Refusal:
            raise
        except Exception as error:  # noqa: BLE001  the row is logged with it
            if not parts.split(part):
                unreadable.add(place, str(part[0]), error)
                break
        else:
            return [*part[done:], *parts.rest]
    return parts.rest
