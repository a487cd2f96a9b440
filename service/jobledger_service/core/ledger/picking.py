"""Assigns waiting chunks to the claims of a batch: the most urgent first, to the claims in their order."""

import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.chunk import NO_KIND, ChunkKey, Queue
from jobledger_service.core.model.job import Job
from jobledger_service.core.store.writes import WaitingChunk

FIRST_FETCH = 100
"""The number of chunks of a queue that are read first. Each further read of the same queue goes four times as deep."""

Fetch = Callable[[Mapping[Queue, int]], Mapping[Queue, Sequence[WaitingChunk]]]
"""Returns the first waiting chunks of each queue, up to a number, the most urgent first."""

LockFree = Callable[[Collection[str]], Collection[str]]
"""Locks the free ones of some jobs, without waiting, and returns them."""


class ClaimQuery(MsgStruct, frozen=True):
    """A query for waiting chunks of one owner: of any of the kinds, or of any of the jobs, by key."""

    owner: str
    kinds: tuple[str, ...]
    limit: int
    job_keys: tuple[str, ...] = ()

    @property
    def queues(self) -> list[Queue]:
        """The queues of these chunks."""
        return [*((self.owner, kind) for kind in self.kinds), *((key, NO_KIND) for key in self.job_keys)]

    def covers(self, job: Job) -> bool:
        """Whether it may lease chunks of a job."""
        return not set(job.queues).isdisjoint(self.queues)


class Picked(MsgStruct):
    """The chunks for one claim; `contended` when other replicas hold jobs that it would have got."""

    chunks: list[ChunkKey] = []
    contended: bool = False


def pick(queries: Sequence[ClaimQuery], fetch: Fetch, lock_free: LockFree, *, shared: bool) -> list[Picked]:
    """Return the chunks for each query. With `shared`, other replicas hold jobs too, which are skipped.

    The number of chunks read grows with the sum of the limits, and not with the number of queries times that sum: each
    queue is walked once for all queries on it.
    """
    walks = _Walks(queries, fetch, shared=shared)
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

    def __init__(self, deepest: int) -> None:
        self.deepest = deepest
        self.fetch_size = min(FIRST_FETCH, deepest)
        self._seen: set[ChunkKey] = set()
        self._ahead: deque[WaitingChunk] = deque()
        self._ends = False

    def extend(self, found: Sequence[WaitingChunk]) -> None:
        """Add the first `fetch_size` chunks of the queue, of which some are known."""
        self._ends = len(found) < self.fetch_size or self.fetch_size >= self.deepest
        self._ahead.extend(one for one in found if one.key not in self._seen)
        self._seen.update(one.key for one in found)
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

    def __init__(self, queries: Sequence[ClaimQuery], fetch: Fetch, *, shared: bool) -> None:
        self._fetch = fetch
        wanted: dict[Queue, int] = {}
        for query in queries:
            for queue in query.queues:
                wanted[queue] = wanted.get(queue, 0) + query.limit
        # where other replicas hold jobs, more than needed, to skip some
        self._walks = {queue: _Walk(2 * limit + 100 if shared else limit) for queue, limit in wanted.items()}

    def draw(self, query: ClaimQuery, count: int) -> list[ChunkKey]:
        """Return the next `count` chunks over all queues of a query, fewer when there are no more."""
        walks = [self._walks[queue] for queue in query.queues]
        self._fetch_more([queue for queue, walk in zip(query.queues, walks, strict=True) if walk.needs_fetch])
        heads = list(self._heads(walks))
        heapq.heapify(heads)
        drawn: list[ChunkKey] = []
        while heads and len(drawn) < count:
            head, n = heads[0]
            drawn.append(head.key)
            if walks[n].needs_fetch:
                self._fetch_more([query.queues[n]])
            following = walks[n].pop()
            if following is None:
                heapq.heappop(heads)
            else:
                heapq.heapreplace(heads, (following, n))
        for head, n in heads:
            walks[n].put_back(head)
        return drawn

    @staticmethod
    def _heads(walks: Sequence[_Walk]) -> Iterator[tuple[WaitingChunk, int]]:
        for n, walk in enumerate(walks):
            if (head := walk.pop()) is not None:
                yield head, n

    def _fetch_more(self, queues: Sequence[Queue]) -> None:
        if queues:
            found = self._fetch({queue: self._walks[queue].fetch_size for queue in queues})
            for queue in queues:
                self._walks[queue].extend(found.get(queue, ()))
