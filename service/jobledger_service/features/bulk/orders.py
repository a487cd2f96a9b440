"""The order of a bulk run: its verb and its jobs."""

from collections.abc import Callable, Sequence

from msgspec import Struct as MsgStruct

from jobledger_service.core.ledger.commands import ClaimedChunk
from jobledger_service.core.model.filter import JobFilter

from .commands import ForJob


class BulkOrder(MsgStruct, frozen=True):
    """The verb, and the jobs of one chunk: those that a filter finds, or those that are named.

    `matched` is how many jobs the filter meant when the run was asked for, None when that is not known exactly.
    """

    verb: ForJob
    filter: JobFilter | None
    job_ids: Sequence[str] = ()
    matched: int | None = None
    delete_artifacts: bool = False


ReadOrder = Callable[[ClaimedChunk], BulkOrder]
"""Reads the order from a chunk's inputs; raises ValueError for an invalid one."""
