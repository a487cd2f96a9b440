"""Claims: waiting claims are woken when chunks become ready, and chunks that no caller received are released."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import Context
from itertools import chain, islice

import structlog

from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.core.model.chunk import NO_KIND, Queue
from jobledger_service.core.model.job import owner_of
from jobledger_service.core.model.leases import ends_with_attempt
from jobledger_service.core.model.owners import ALL_OWNERS
from jobledger_service.core.model.service_kinds import is_reserved
from jobledger_service.core.model.work import Release

from .commands import ClaimChunk, ClaimChunks, ClaimedChunk, LeaseAnswer, ReleaseUnheard, ReportAndClaim
from .committer import Committer
from .picking import ClaimQuery

log = structlog.get_logger(__name__)

CLAIM_POLL_SECONDS = 5.0
"""Seconds after which a waiting claim queries again: wake-ups of other replicas are hints."""

CONTENTION_SECONDS = 0.5
"""Seconds for which a claim retries at once when other replicas hold the same chunks."""
CONTENTION_PAUSE_SECONDS = 0.005

HELD_SECONDS = 10.0
"""Seconds for which leases of a claim with a request_id are held when its caller has left; half of a shorter lease."""

RELEASE = Release("the caller left before the claim was answered", unheard=True)


class ClaimQueue:
    """The claims of workers, of which some wait for work.

    A claim is in the queues of its kinds or jobs from before its first query until it ends. So chunks that become ready
    during a query wake it too, and a wake-up that it did not need goes to the next claim.
    """

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self._closing = False
        self._waiting: dict[Queue, dict[_Waiter, None]] = {}
        self._releases: set[asyncio.Task[None]] = set()
        self._settling = asyncio.Event()

    async def claim(self, command: ClaimChunks, wait: float) -> list[ClaimedChunk]:
        """Return leased chunks, waiting up to `wait` seconds for the first; an empty list after that."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        with self._registered(command.query) as waiter:
            while True:
                waiter.begin_attempt()
                claimed = await self._try_claim(command)
                waiter.end_attempt(claimed or (), full=len(claimed or ()) == command.limit)
                remaining = deadline - loop.time()
                if claimed or remaining <= 0 or self._closing:
                    return claimed or []
                try:
                    pause = CLAIM_POLL_SECONDS if claimed is not None else CONTENTION_SECONDS
                    async with asyncio.timeout(min(remaining, pause)):
                        await waiter.woken.wait()
                except TimeoutError:
                    pass

    async def claim_now(self, command: ClaimChunks) -> list[ClaimedChunk] | None:
        """Return leased chunks, an empty list when none wait, or None when other replicas hold them.

        Raises the errors of Committer.submit.
        """

        def on_abandoned(claimed: list[ClaimedChunk] | None) -> None:
            self.release(claimed or (), RELEASE, _held_seconds(command))

        return await self._committer.submit(command, on_abandoned)

    async def report_and_claim(self, command: ReportAndClaim) -> tuple[list[LeaseAnswer], list[ClaimedChunk]]:
        """End leases; return the outcomes and the next chunks, if any wait."""

        def on_abandoned(answer: tuple[list[LeaseAnswer], list[ClaimedChunk]]) -> None:
            self.release(answer[1], RELEASE, _held_seconds(command.claim))

        return await self._committer.submit(command, on_abandoned)

    async def claim_one(self, command: ClaimChunk) -> ClaimedChunk:
        """Return the lease of a named chunk; one with a task id stays for the caller who asks again."""

        def on_abandoned(claimed: ClaimedChunk) -> None:
            self.release([claimed], RELEASE)

        return await self._committer.submit(command, None if command.by.task_id else on_abandoned)

    async def _try_claim(self, command: ClaimChunks) -> list[ClaimedChunk] | None:
        loop = asyncio.get_running_loop()
        contended_until = loop.time() + CONTENTION_SECONDS
        claimed = await self.claim_now(command)
        while claimed is None and loop.time() < contended_until:
            await asyncio.sleep(CONTENTION_PAUSE_SECONDS)
            claimed = await self.claim_now(command)
        return claimed

    def release(self, claimed: Sequence[ClaimedChunk], release: Release, after_seconds: float = 0.0) -> None:
        """Release chunks whose claim no caller received, and whose leases are unused, without counting an attempt."""
        alike: dict[tuple[str, float], list[ClaimedChunk]] = {}
        for claimed_chunk in claimed:
            # the end of such a lease does not show whether it was extended
            seconds = 0.0 if ends_with_attempt(claimed_chunk.job, claimed_chunk.chunk) else after_seconds
            alike.setdefault((claimed_chunk.job.spec.owner, seconds), []).append(claimed_chunk)
        for (owner, seconds), group in alike.items():
            items = [(claimed_chunk.lease, claimed_chunk.chunk.lease_expire_time, release) for claimed_chunk in group]
            command = ReleaseUnheard(owner, items, is_reserved(group[0].job.spec.kind))
            # in a context of its own: it is no part of the call, whose deadline may be over
            work = self._submit_release(command, seconds)
            task = asyncio.create_task(work, name="release of an unheard claim", context=Context())
            self._releases.add(task)
            task.add_done_callback(self._releases.discard)

    async def _submit_release(self, command: ReleaseUnheard, after_seconds: float = 0.0) -> None:
        if after_seconds:
            with suppress(TimeoutError):
                async with asyncio.timeout(after_seconds):
                    await self._settling.wait()
        try:
            await self._committer.submit(command)
        except Exception as error:  # noqa: BLE001  whatever it is, these leases run out by themselves
            log.warning("unclaimed leases are left to expire", why=str(error), leases=len(command.items))

    @contextmanager
    def _registered(self, query: ClaimQuery) -> Iterator["_Waiter"]:
        """Keep a claim in its queues; other claims get its unused wake-ups."""
        waiter = _Waiter()
        # a kind that is resumed wakes the claims of jobs of its owner: which jobs these are is not looked up
        queues = [*query.queues, *{(owner_of(key), NO_KIND) for key in query.job_keys}]
        for queue in queues:
            self._waiting.setdefault(queue, {})[waiter] = None
        try:
            yield waiter
        finally:
            for queue in queues:
                waiting = self._waiting[queue]
                waiting.pop(waiter)
                if not waiting:
                    del self._waiting[queue]
            self.wake(dict.fromkeys(waiter.unused, 1))

    def wake(self, ready: Mapping[Queue, int]) -> None:
        """Wake as many of the longest waiting claims as chunks are ready for them, those for all owners last."""
        for queue, count in ready.items():
            claims = chain(self._waiting.get(queue, ()), self._waiting.get((ALL_OWNERS, queue[1]), ()))
            for waiter in list(islice((waiter for waiter in claims if queue not in waiter.woken_by), count)):
                waiter.wake(queue)

    def close(self) -> None:
        """End all waiting: claims answer with what they have."""
        self._closing = True
        for waiting in self._waiting.values():
            for waiter in waiting:
                waiter.woken.set()

    async def settle(self) -> None:
        """Release all undelivered chunks now, including those of the current batch, and wait until it is done."""
        self._settling.set()
        await self._submit_release(ReleaseUnheard("", ()))  # an empty command, answered after that batch
        while self._releases:
            await asyncio.wait(self._releases)


def _held_seconds(command: ClaimChunks) -> float:
    """Return for how long the leases of a caller who left wait for the claim to be repeated."""
    return min(HELD_SECONDS, command.by.lease_duration / SECOND / 2) if command.request_id else 0.0


class _Waiter:
    """A claim in its queues, with its unused wake-ups."""

    def __init__(self) -> None:
        self.woken = asyncio.Event()
        self.woken_by: set[Queue] = set()
        """The queues that woke it since its last query began."""
        self._used_by_attempt: set[Queue] = set()
        """The queues that woke it before the query that runs."""

    def wake(self, queue: Queue) -> None:
        """Make it query again."""
        self.woken_by.add(queue)
        self.woken.set()

    def begin_attempt(self) -> None:
        """Use the wake-ups so far if the query ends."""
        self._used_by_attempt |= self.woken_by
        self.woken_by = set()
        self.woken.clear()

    def end_attempt(self, claimed: Sequence[ClaimedChunk], *, full: bool) -> None:
        """Drop the used wake-ups: those of the queues that filled the claim, or all when it is not full."""
        full_queues = {queue for claimed_chunk in claimed for queue in claimed_chunk.job.queues}
        self._used_by_attempt -= full_queues if full else self._used_by_attempt

    @property
    def unused(self) -> set[Queue]:
        """The queues whose wake-ups go to others when this claim ends."""
        return self.woken_by | self._used_by_attempt
