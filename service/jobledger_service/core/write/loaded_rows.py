"""The rows that a batch has before its commands are decided: those that they name, and those that their claims pick.

A batch also loads chunks that it may make claimable itself, as the walks of its claims over the queues do not see them:
the finalizers of which it may complete the last other chunk, and the first chunks of jobs that may get slots which it
frees. They are offered to its claims once they are claimable.
"""

from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import Final

from jobledger_service.core.model.chunk import Chunk, ChunkKey, Queue
from jobledger_service.core.model.job import Job, job_id_of
from jobledger_service.core.model.refusals.errors import JobUnreadable
from jobledger_service.core.model.states import ChunkState

from .fleet_turns import FleetTurns
from .picking import ClaimQuery, Picked, pick
from .row_families import Guard, Needs, OpenFamily, RowFamily, open_families
from .undo import Undo
from .writing import Transaction

MAX_SEARCHES: Final = 5
"""Searches of one batch for other chunks when picked ones are unreadable."""
MAX_PARKED: Final = 32
"""Jobs that may get slots in the batch that frees them; the duty of limits grants the others."""


class LoadedRows:
    """The jobs of a batch, which are locked, and its chunks, as the commands so far left them; `undo` undoes one."""

    def __init__(self, transaction: Transaction, families: Iterable[OpenFamily], fleet_turns: FleetTurns) -> None:
        self.transaction = transaction
        self.undo = Undo()
        self.jobs: dict[str, Job] = {}
        self.chunks: dict[str, dict[int, Chunk]] = {}
        self.parked: list[str] = []
        """Jobs that wait for slots which the batch may free, the most urgent first."""
        self._open_families = families
        self._fleet_turns = fleet_turns
        self._picked: dict[ClaimQuery, deque[Picked]] = {}
        self._offered: dict[ChunkKey, None] = {}
        self._paused: dict[Queue, bool] = {}

    @cached_property
    def families(self) -> dict[type[RowFamily], RowFamily]:
        """The rows of families, in the order of their ranks."""
        families = open_families(self._open_families, self.transaction, self.undo)
        return {type(family): family for family in families}

    @cached_property
    def guards(self) -> list[Guard]:
        """The families that guard, by rank."""
        return [family for family in self.families.values() if isinstance(family, Guard)]

    @cached_property
    def changing(self) -> list[Guard]:
        """The families that change jobs, by rank."""
        return [guard for guard in self.guards if type(guard).changed is not Guard.changed]

    @property
    def has_families(self) -> bool:
        """Whether the families were opened; a batch that only reports progress needs none."""
        return "families" in vars(self)

    def load(self, needs: Iterable[Needs]) -> None:
        """Load what the commands need: jobs are locked in order, then claims take what is free, then families lock."""
        needs = list(needs)
        needs_guards = any(need.rows or need.new_jobs or need.requeues or need.starts or need.storing for need in needs)
        guards = self.guards if needs_guards else []
        for guard in guards:
            guard.add_needs(needs)
        chunks = {key for need in needs for key in need.chunks}
        self._lock({key for need in needs for key in need.jobs} | {key for key, _ in chunks})
        queries = [need.claim_query for need in needs if need.claim_query]
        if queries:
            self._lock_parked(chunks)
            needs.append(Needs(jobs=tuple(self.parked), requeues=True))
        chunks |= self._may_follow(chunks)
        self._pick_and_load(chunks, queries) if queries else self._load_chunks(chunks)
        for guard in guards:
            guard.load(needs, self.jobs)

    def _lock(self, jobs: set[str]) -> None:
        """Lock and load jobs, in the order of their keys."""
        if jobs:
            self.jobs |= self.transaction.jobs(jobs)

    def _load_chunks(self, keys: set[ChunkKey]) -> None:
        if keys:
            for (key, index), chunk in self.transaction.chunks(keys).items():
                self.chunks.setdefault(key, {})[index] = chunk

    def _pick_and_load(self, chunks: set[ChunkKey], queries: Sequence[ClaimQuery]) -> None:
        """Load chunks of locked jobs, and, with their jobs, those that are picked for claims, in the order of these.

        Those that cannot be read are set aside, and the batch searches for others a few times; after that the claim is
        contended.
        """
        for _ in range(MAX_SEARCHES):
            known = len(self.transaction.unreadable)
            picked = self._pick(queries)
            keys = {key for of_query in picked for key in of_query.chunks}
            self._lock({key for key, _ in keys} - self.jobs.keys())
            self._load_chunks(chunks | keys)
            if len(self.transaction.unreadable) == known:
                break
        else:
            readable = ([*filter(self.is_readable, of_query.chunks)] for of_query in picked)
            picked = [Picked(chunks_of_query, contended=True) for chunks_of_query in readable]
        for query, of_query in zip(queries, picked, strict=True):
            self._picked.setdefault(query, deque()).append(of_query)

    def _pick(self, queries: Sequence[ClaimQuery]) -> Sequence[Picked]:
        store = self.transaction
        fleets = [(query.fleet, query.limit) for query in queries if query.fleet is not None]
        turns = self._fleet_turns.find(fleets, store.ready_owners, shared=store.shared)
        return pick(queries, store.waiting_chunks, store.lock_free, shared=store.shared, turns=turns)

    def _may_follow(self, chunks: Collection[ChunkKey]) -> set[ChunkKey]:
        """Return the chunks that may become claimable as these end: finalizers, and first chunks of parked jobs."""
        finalizers = {
            finalizer_of(job)
            for job, count in self._named(chunks)
            if job.spec.finalizer_work is not None
            and job.finalizer_waits
            and job.counts.completed + count >= job.counts.total - 1
        }
        return finalizers | {(key, 0) for key in self.parked}

    def _lock_parked(self, chunks: Collection[ChunkKey]) -> None:
        """Lock the most urgent jobs that wait for slots of jobs of which these chunks may be the last to end.

        They are up to twice as many as may end, as some may have to wait for another limit then.
        """
        ending = [job for job, count in self._named(chunks) if job.counts.pending + job.counts.processing <= count]
        if limits := {limit for job in ending for limit in job.slots}:
            waiting = self.transaction.first_parked(limits, min(2 * len(ending), MAX_PARKED))
            if unlocked := [key for key in waiting if key not in self.jobs]:
                free = self.transaction.lock_free(unlocked)
                self.parked = [key for key in unlocked if key in free]
                self._lock({*self.parked})

    def _named(self, chunks: Collection[ChunkKey]) -> Iterator[tuple[Job, int]]:
        """Yield the loaded jobs of chunks, each with the number of its chunks among them."""
        counts = Counter([key for key, _ in chunks])
        return ((self.jobs[key], count) for key, count in counts.items() if key in self.jobs)

    def offer(self, chunk: ChunkKey) -> None:
        """Offer a chunk, which became claimable, to the claims that follow."""
        self.undo.put(self._offered, chunk, None)

    def next_picked(self, query: ClaimQuery) -> Picked:
        """Return what was picked for the next claim with this query, with the offered chunks that it may lease."""
        picked = self._picked[query].popleft()
        more = [key for key in self._offered if self._is_for(query, key) and not self.is_paused(self.jobs[key[0]])]
        if more:
            picked.chunks = sorted([*picked.chunks, *more], key=partial(self._place, query))[: query.limit]
        return picked

    def _is_for(self, query: ClaimQuery, key: ChunkKey) -> bool:
        chunk = self.chunks.get(key[0], {}).get(key[1])  # None for one that cannot be read
        return chunk is not None and chunk.state is ChunkState.PENDING and query.covers(self.jobs[key[0]])

    def _place(self, query: ClaimQuery, key: ChunkKey) -> tuple[int | ChunkKey, ...]:
        """Return the place of a chunk in the order of claims; within a priority, owners keep their turns."""
        job = self.jobs[key[0]]
        return (-job.priority, job.spec.create_time, key) if query.fleet is None else (-job.priority,)

    def is_paused(self, job: Job) -> bool:
        """Whether the kind of a job was paused before the batch. Walks pass over it; this is for other chunks."""
        if job.queue not in self._paused:
            queues = {known.queue for known in self.jobs.values()}
            paused = self.transaction.paused_kinds(queues)
            self._paused.update({queue: queue in paused for queue in queues})
        return self._paused[job.queue]

    def is_readable(self, chunk: ChunkKey) -> bool:
        """Whether neither a chunk nor its job was set aside."""
        return chunk not in self.transaction.unreadable and chunk[0] not in self.transaction.unreadable

    def check_readable(self, key: str) -> None:
        """Raise JobUnreadable for a job that exists and cannot be read."""
        if key in self.transaction.unreadable:
            raise JobUnreadable(job_id_of(key))


def finalizer_of(job: Job) -> ChunkKey:
    """Return the key of the last chunk, which a finalizer is."""
    return job.key, job.counts.total - 1
