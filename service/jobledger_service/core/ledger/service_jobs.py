"""Works the chunks of the service's own jobs, of every owner, as a worker does: under leases, in each process."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from jobledger_service.core.model.chunk import WorkError
from jobledger_service.core.model.errors import Draining, Refusal, StoreUnavailable
from jobledger_service.core.model.limit_errors import QueueFull
from jobledger_service.core.model.limits import SECOND
from jobledger_service.core.model.service_kinds import is_reserved
from jobledger_service.core.model.work import NOTHING_NEW, Claim, Failure, Release

from .claims import ClaimQueue
from .commands import ClaimChunks, Claimed, FailChunks, Heartbeat, LeaseStatus, ReleaseChunks
from .committer import Committer
from .duty import Ran, perform
from .ports import Clock, Queue
from .queries import Queries
from .read_ports import ReadStore

log = logging.getLogger(__name__)

LEASE: Final = 5 * SECOND
"""How long the work of a server that was killed stands still at the most, but for a moment."""
BEAT: Final = LEASE / SECOND / 3
MOST: Final = 16
MOST_OF_QUEUE: Final = 4
"""As many chunks of one owner and kind are worked at a time here, so that no owner's long runs keep others waiting."""

MAY_PASS: Final = (Draining, QueueFull, StoreUnavailable)

Work = Callable[[Claimed], Awaitable[None]]


class ServiceJobs:
    """Claims what waits and has it worked; `works` are by kind. A chunk whose work ends has been ended by it."""

    def __init__(
        self,
        store: ReadStore,
        queries: Queries,
        committer: Committer,
        claims: ClaimQueue,
        works: Mapping[str, Work],
        worker: str,
        clock: Clock,
    ) -> None:
        self._store = store
        self._queries = queries
        self._committer = committer
        self._claims = claims
        self._works = works
        self._claim = Claim(worker, LEASE)
        self._clock = clock
        self._news = asyncio.Event()
        self._working: dict[asyncio.Task[None], Queue] = {}

    def wake(self) -> None:
        """Look at once."""
        self._news.set()

    def heard(self, ready: Iterable[Queue]) -> None:
        """Look at once when there is work."""
        if any(is_reserved(kind) for _, kind in ready):
            self.wake()

    async def run(self, ran: Ran) -> None:
        """Look for work when woken, until cancelled; then give back what is held."""
        try:
            await perform("service jobs", self._look, None, self._news, ran)
        finally:
            for task in self._working:
                task.cancel()
            await asyncio.gather(*self._working, return_exceptions=True)

    async def _look(self) -> bool:
        """Claim a chunk here and there, as many as there is room for; there is no more until one is done."""
        for owner, kind in await self._queries.run(self._store.service_queues):
            room = min(MOST - len(self._working), MOST_OF_QUEUE - Counter(self._working.values())[owner, kind])
            if room <= 0 or kind not in self._works:
                continue
            claimed = await self._claims.claim_now(ClaimChunks(owner, (kind,), room, self._claim))
            for one in claimed or ():
                task = asyncio.create_task(self._hold(one), name=f"{kind} {one.job.spec.job_id}")
                self._working[task] = owner, kind
                task.add_done_callback(self._done)
        return False

    def _done(self, task: "asyncio.Task[None]") -> None:
        del self._working[task]
        self._news.set()

    async def _hold(self, claimed: Claimed) -> None:
        """Work a chunk and keep its lease; give it back when this server is to stop, or is too busy."""
        work = asyncio.ensure_future(self._works[claimed.job.spec.kind](claimed))
        try:
            while not (await asyncio.wait({work}, timeout=BEAT))[0]:
                if not await self._beat(claimed):
                    return
            await work
        except asyncio.CancelledError:
            await self._let_go(work, claimed)
            raise
        except MAY_PASS as refusal:
            log.warning("a chunk of the service's own is put off: %s", refusal, extra=_named(claimed))
            await self._let_go(work, claimed)
        except Exception as error:
            log.exception("a chunk of the service's own fails", extra=_named(claimed))
            await self._fail(claimed, for_good=isinstance(error, Refusal | ValueError))
        finally:
            work.cancel()

    async def _beat(self, claimed: Claimed) -> bool:
        """Extend the lease; return whether it is still held, as far as one can know."""
        report = (claimed.lease, NOTHING_NEW)
        try:
            heartbeat = Heartbeat(claimed.job.spec.owner, [report], LEASE, by_service=True, received=self._clock())
            [answer] = await self._committer.submit(heartbeat)
        except Refusal as refusal:
            log.warning("a lease of the service's own is not extended: %s", refusal, extra=_named(claimed))
            return True
        return answer.status is not LeaseStatus.LEASE_LOST

    async def _let_go(self, work: "asyncio.Future[None]", claimed: Claimed) -> None:
        """Give the chunk back, with the attempt not counted; a lease that cannot be given back runs out by itself."""
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        given_back = (claimed.lease, NOTHING_NEW, Release("this server stops"))
        release = ReleaseChunks(claimed.job.spec.owner, [given_back], by_service=True)
        try:
            await self._committer.submit(release)
        except Refusal as refusal:
            log.warning("a lease of the service's own is left to run out: %s", refusal, extra=_named(claimed))

    async def _fail(self, claimed: Claimed, *, for_good: bool) -> None:
        error = WorkError("INTERNAL", "the service failed at this; its log has the detail under the job's id")
        failure = (claimed.lease, NOTHING_NEW, Failure(error, 0.5, for_good), "")
        try:
            await self._committer.submit(FailChunks(claimed.job.spec.owner, [failure], by_service=True))
        except Refusal as refusal:
            log.warning("a lease of the service's own is left to run out: %s", refusal, extra=_named(claimed))


def _named(claimed: Claimed) -> dict[str, object]:
    return {"job_id": claimed.job.spec.job_id, "chunk_index": claimed.chunk.index}
