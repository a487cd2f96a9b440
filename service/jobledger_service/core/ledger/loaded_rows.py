"""The rows of jobs and chunks that a batch has: those that its commands name, and those that its claims pick."""

from collections import deque
from collections.abc import Sequence
from typing import Final

from jobledger_service.core.model.chunk import Chunk, ChunkKey
from jobledger_service.core.model.errors import JobUnreadable
from jobledger_service.core.model.job import Job, job_id_of
from jobledger_service.core.store.writing import Transaction

from .fleet_turns import FleetTurns
from .picking import ClaimQuery, Picked, pick

MAX_SEARCHES: Final = 5
"""How often one batch searches for other chunks when some that it found cannot be read."""


class LoadedRows:
    """The jobs of a batch, which are locked, and its chunks, as the commands so far left them."""

    def __init__(self, transaction: Transaction, fleet_turns: FleetTurns) -> None:
        self.transaction = transaction
        self.jobs: dict[str, Job] = {}
        self.chunks: dict[str, dict[int, Chunk]] = {}
        self._fleet_turns = fleet_turns
        self._picked: dict[ClaimQuery, deque[Picked]] = {}

    def lock(self, jobs: set[str]) -> None:
        """Lock and load jobs, in the order of their keys."""
        if jobs:
            self.jobs |= self.transaction.jobs(jobs)

    def load(self, chunks: set[ChunkKey], queries: Sequence[ClaimQuery]) -> None:
        """Load chunks of locked jobs, and, with their jobs, those that are picked for claims, in the order of these.

        Those that cannot be read are set aside, and the batch searches for others a few times; after that the claim is
        contended.
        """
        if not queries:
            self._load_chunks(chunks)
            return
        for _ in range(MAX_SEARCHES):
            known = len(self.transaction.unreadable)
            picked = self._pick(queries)
            found = {key for one in picked for key in one.chunks}
            self.lock({key for key, _ in found} - self.jobs.keys())
            self._load_chunks(chunks | found)
            if len(self.transaction.unreadable) == known:
                break
        else:
            picked = [Picked([*filter(self.is_readable, one.chunks)], contended=True) for one in picked]
        for query, one in zip(queries, picked, strict=True):
            self._picked.setdefault(query, deque()).append(one)

    def _pick(self, queries: Sequence[ClaimQuery]) -> Sequence[Picked]:
        store = self.transaction
        fleets = [(query.fleet, query.limit) for query in queries if query.fleet is not None]
        turns = self._fleet_turns.find(fleets, store.ready_owners, shared=store.shared)
        return pick(queries, store.waiting_chunks, store.lock_free, shared=store.shared, turns=turns)

    def _load_chunks(self, keys: set[ChunkKey]) -> None:
        if keys:
            for (key, index), chunk in self.transaction.chunks(keys).items():
                self.chunks.setdefault(key, {})[index] = chunk

    def next_picked(self, query: ClaimQuery) -> Picked:
        """Return what was picked for the next claim with this query."""
        return self._picked[query].popleft()

    def is_readable(self, chunk: ChunkKey) -> bool:
        """Whether neither a chunk nor its job was set aside."""
        return chunk not in self.transaction.unreadable and chunk[0] not in self.transaction.unreadable

    def check_readable(self, key: str) -> None:
        """Raise JobUnreadable for a job that exists and cannot be read."""
        if key in self.transaction.unreadable:
            raise JobUnreadable(job_id_of(key))
