"""Commands about many jobs and chunks: they do as much as a batch has room for, and leave the rest to later ones."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from msgspec import Struct as MsgStruct

from jobledger_service.core.ledger.working_set import WorkingSet

Item = TypeVar("Item")
Result = TypeVar("Result")


class PartialResult(MsgStruct, frozen=True):
    """The decision of a command of which a part is done: the command for the rest."""

    rest: Any


def run_within_budget(
    work: WorkingSet, items: Sequence[Item], one: Callable[[Item], Result], rows: Callable[[Item], int]
) -> list[Result]:
    """Do one thing after the other, the first always, and return the results of those that fit into the batch.

    `rows` returns the approximate number of rows that one changes. What would make the event of a job too large is
    undone.
    """
    results: list[Result] = []
    begun = work.rows
    for item in items:
        savepoint = work.savepoint
        if results and work.rows - begun + rows(item) > work.row_budget:
            break
        results.append(one(item))
        if work.exceeded and len(results) > 1:
            work.rollback(savepoint)
            results.pop()
            break
    return results
