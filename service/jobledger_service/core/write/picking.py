"""Assigns waiting chunks to the claims of a batch: the most urgent first, to the claims in their order."""

import heapq
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence

from msgspec import Struct as MsgStruct

from jobledger_service.core.database.rows.writes import WaitingChunk
from jobledger_service.core.model.chunk import NO_KIND, ChunkKey, Queue
from jobledger_service.core.model.job import Job, owner_of
from jobledger_service.core.model.owners import Owners

from .fleet_turns import Fleet, FleetQueues

FIRST_FETCH = 100
"""The number of chunks of a queue that are read first. Each further read of the same queue goes four times as deep."""

Fetch = Callable[[Mapping[Queue, int]], Mapping[Queue, Sequence[WaitingChunk]]]
"""Returns the first waiting chunks of each queue, up to a number, the most urgent first."""

LockFree = Callable[[Collection[str]], Collection[str]]
"""Locks the jobs that are free, without waiting, and returns them."""


class ClaimQuery(MsgStruct, frozen=True):
    """A query for waiting chunks of one owner: of any of the kinds, or of any of the jobs, by key.

    With `owners` it is for chunks of these owners, of any of the kinds.
    """

    owner: str
    kinds: tuple[str, ...]
    limit: int
    job_keys: tuple[str, ...] = ()
    owners: Owners | None = None

    @property
    def fleet(self) -> Fleet | None:
        """The owners and kinds of a query for chunks of several owners."""
        return None if self.owners is None else (self.owners, self.kinds)

    @property
    def queues(self) -> list[Queue]:
        """The queues of these chunks; those of all owners, together, have ALL_OWNERS in place of an owner."""
        owners = [self.owner] if self.owners is None else self.owners.listed
        return [*((owner, kind) for owner in owners for kind in self.kinds), *((key, NO_KIND) for key in self.job_keys)]

    def covers(self, job: Job) -> bool:
        """Whether it may lease chunks of a job."""
        served = job.spec.owner == self.owner if self.owners is None else job.spec.owner in self.owners
        return job.key in self.job_keys or (served and job.spec.kind in self.kinds)


class Picked(MsgStruct):
    """The chunks for one claim; `contended` when other replicas hold jobs that it would have got."""

    chunks: list[ChunkKey] = []
    contended: bool = False


def pick(
    queries: Sequence[ClaimQuery],
    fetch: Fetch,
    lock_free: LockFree,
    *,
    shared: bool,
    turns: Mapping[Fleet, FleetQueues] = {},
) -> list[Picked]:
    """Return the chunks for each query. With `shared`, other replicas hold jobs too, which are skipped.

    `turns` are those of the queries for chunks of several owners.

    The number of chunks read grows with the sum of the limits, and not with the number of queries times that sum: each
    queue is walked once for all queries on it.
    """
    walks = _Walks(queries, fetch, turns, shared=shared)
    picked = [Picked() for _ in queries]
    is_free: dict[str, bool] = {}
    unmet = list(range(len(queries)))
    while unmet:
        drawn = {n: walks.draw(queries[n], queries[n].limit - len(picked[n].chunks)) for n in unmet}
        asked = {job_key for keys in drawn.values() for job_key, _ in keys} - is_free.keys()
        locked = lock_free(asked) if asked else ()
        is_free.update({job_key: job_key in locked for job_key in asked})
        for n, keys in drawn.items():
            free = [key for key in keys if is_free[key[0]]]
            picked[n].chunks += free
            picked[n].contended |= len(free) < len(keys)
        unmet = [n for n in unmet if drawn[n] and len(picked[n].chunks) < queries[n].limit]
    return picked


class _Walk:
    """One queue from its most urgent chunk on, read in steps, as deep as all queries on it may need."""

    def __init__(self, deepest: int, first_fetch: int) -> None:
        self.deepest = deepest
        self.fetch_size = min(first_fetch, deepest)
        self._seen: set[ChunkKey] = set()
        self._ahead: deque[WaitingChunk] = deque()
        self._ends = False

    def extend(self, chunks: Sequence[WaitingChunk]) -> None:
        """Add the first `fetch_size` chunks of the queue, of which some are known."""
        self._ends = len(chunks) < self.fetch_size or self.fetch_size >= self.deepest
        self._ahead.extend(chunk for chunk in chunks if chunk.key not in self._seen)
        self._seen.update(chunk.key for chunk in chunks)
        self.fetch_size = min(self.fetch_size * 4, self.deepest)

    @property
    def needs_fetch(self) -> bool:
        """Whether the queue may have more chunks, and none is loaded."""
        return not self._ahead and not self._ends

    def pop(self) -> WaitingChunk | None:
        """Take the next loaded chunk."""
        return self._ahead.popleft() if self._ahead else None

    def put_back(self, chunk: WaitingChunk) -> None:
        """Put back a chunk that was not needed."""
        self._ahead.appendleft(chunk)


class _Walks:
    """The walks over all queues of the queries; a chunk is drawn only once."""

    def __init__(
        self, queries: Sequence[ClaimQuery], fetch: Fetch, turns: Mapping[Fleet, FleetQueues], *, shared: bool
    ) -> None:
        self._fetch = fetch
        self._turns = turns
        self._had: Counter[tuple[int, str]] = Counter()
        """How many chunks each owner gave to claims that are for several owners, by priority."""
        limits: dict[Queue, int] = {}
        first: dict[Queue, int] = {}
        for query in queries:
            queues = self._turns_of(query).queues
            share = FIRST_FETCH if query.fleet is None else 2 + FIRST_FETCH // max(len(queues), 1)
            for queue in queues:
                limits[queue] = limits.get(queue, 0) + query.limit
                # a query with one queue takes everything from it, and reads one chunk more
                first[queue] = max(first.get(queue, 0), limits[queue] + 1 if len(queues) == 1 else share)
        # where other replicas hold jobs, more than needed, to skip some
        self._walks = {
            queue: _Walk(2 * limit + 100 if shared else limit, first[queue]) for queue, limit in limits.items()
        }

    def _turns_of(self, query: ClaimQuery) -> FleetQueues:
        return FleetQueues(query.queues) if query.fleet is None else self._turns[query.fleet]

    def draw(self, query: ClaimQuery, count: int) -> list[ChunkKey]:
        """Return the next `count` chunks over all queues of a query, fewer when there are no more."""
        turns = self._turns_of(query)
        self._fetch_more([queue for queue in turns.queues if self._walks[queue].needs_fetch])
        heads: dict[str, list[tuple[WaitingChunk, Queue]]] = {}
        for queue in turns.queues:
            if (head := self._walks[queue].pop()) is not None:
                owner = query.owner if query.fleet is None else owner_of(head.job_key)
                heads.setdefault(owner, []).append((head, queue))
        for of_owner in heads.values():
            heapq.heapify(of_owner)
        owners = [self._turn(turns, owner, of_owner) for owner, of_owner in heads.items()]
        heapq.heapify(owners)
        drawn: list[ChunkKey] = []
        while owners and len(drawn) < count:
            minus_priority, _, _, owner = owners[0]
            drawn.append(self._pop_first(heads[owner]).key)
            if query.fleet is not None:
                self._had[minus_priority, owner] += 1
                turns.record(-minus_priority, owner)
            if heads[owner]:
                heapq.heapreplace(owners, self._turn(turns, owner, heads[owner]))
            else:
                heapq.heappop(owners)
        for of_owner in heads.values():
            for head, queue in of_owner:
                self._walks[queue].put_back(head)
        return drawn

    def _turn(
        self, turns: FleetQueues, owner: str, heads: Sequence[tuple[WaitingChunk, Queue]]
    ) -> tuple[int, int, int, str]:
        """Return when it is an owner's turn: by priority, then after those who had fewer."""
        minus_priority = heads[0][0].minus_priority
        return minus_priority, self._had[minus_priority, owner], turns.place(-minus_priority, owner), owner

    def _pop_first(self, heads: list[tuple[WaitingChunk, Queue]]) -> WaitingChunk:
        """Return the first of some heads, and put the next chunk of its queue in its place."""
        head, queue = heads[0]
        walk = self._walks[queue]
        if walk.needs_fetch:
            self._fetch_more([queue])
        following = walk.pop()
        if following is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (following, queue))
        return head

    def _fetch_more(self, queues: Sequence[Queue]) -> None:
        if queues:
            heads = self._fetch({queue: self._walks[queue].fetch_size for queue in queues})
            for queue in queues:
                self._walks[queue].extend(heads.get(queue, ()))
