"""Paused kinds in one batch: those of its jobs, and those that it pauses or resumes."""

from collections.abc import Mapping

from jobledger_service.core.model.chunk import Queue
from jobledger_service.core.model.job import Job
from jobledger_service.core.store.writing import Transaction

from .undo import Undo


class Pauses:
    """The paused kinds of a batch's jobs, read when one is asked for; `jobs` are its jobs, as they are now."""

    def __init__(self, transaction: Transaction, jobs: Mapping[str, Job], undo: Undo) -> None:
        self._transaction = transaction
        self._jobs = jobs
        self._undo = undo
        self._paused: dict[Queue, bool] = {}
        self.changed: dict[Queue, int] = {}
        """The queues that were paused, and those that were resumed with so many waiting chunks."""

    def cover(self, job: Job) -> bool:
        """Whether the kind of a job was paused before the batch. Walks pass over it; this is for other chunks."""
        if job.queue not in self._paused:
            queues = {one.queue for one in self._jobs.values()}
            paused = self._transaction.paused_kinds(queues)
            self._paused.update({queue: queue in paused for queue in queues})
        return self._paused[job.queue]

    def record(self, queue: Queue, waiting: int) -> None:
        """Record that a kind was paused, with 0, or resumed, with how many claims may get its chunks."""
        self._undo.put(self.changed, queue, waiting)
