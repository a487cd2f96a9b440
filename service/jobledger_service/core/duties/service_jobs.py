"""Runs the chunks of the service's own jobs, of every owner, as a worker does: under leases, in each process.

It shares by itself: chunks wait in the database, and a running one gives way to another owner's.
"""

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import structlog

from jobledger_service.core.duty import Duty
from jobledger_service.core.kernel import ChunkHandler, Kernel, Turn
from jobledger_service.core.model.bounds.limits import SECOND
from jobledger_service.core.model.chunk import Queue, WorkError
from jobledger_service.core.model.refusals.errors import Draining, Refusal, StoreUnavailable
from jobledger_service.core.model.refusals.limit_errors import QueueFull
from jobledger_service.core.model.service_kinds import is_reserved
from jobledger_service.core.model.work import NOTHING_NEW, Claim, Failure, Release
from jobledger_service.core.read.due import SERVICE_JOBS_DUE
from jobledger_service.core.write import commands

log = structlog.get_logger(__name__)

LEASE: Final = 5 * SECOND
"""The lease, and so about the longest pause of work after a server was killed."""
HEARTBEAT_SECONDS: Final = LEASE / SECOND / 3
MAX_RUNNING_CHUNKS: Final = 16
MAX_CHUNKS_PER_QUEUE: Final = 4
"""The maximum of chunks of one owner and kind that run here at once."""

TRANSIENT_REFUSALS: Final = (Draining, QueueFull, StoreUnavailable)


class ServiceJobs:
    """Claims what waits and has it worked; `handlers` are by kind. A chunk whose work ends has been ended by it."""

    def __init__(self, kernel: Kernel, handlers: Mapping[str, ChunkHandler]) -> None:
        self._kernel = kernel
        self._committer = kernel.committer
        self._handlers = handlers
        self._claim = Claim(f"jobledger {socket.gethostname()}:{os.getpid()}", LEASE)
        self._running: dict[asyncio.Task[None], Turn] = {}
        self._last_turns: dict[str, int] = {}
        self.duty = Duty("service jobs", self._claim_waiting, due=SERVICE_JOBS_DUE, stop=self._stop)

    def on_commit(self, ready: Iterable[Queue]) -> None:
        """Check at once when there is work."""
        if any(is_reserved(kind) for _, kind in ready):
            self.duty.wake_event.set()

    async def _stop(self) -> None:
        """Release the held chunks."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _claim_waiting(self) -> bool:
        """Claim chunks of different queues, as many as there is room for; there is no more until one is done.

        Owners with the fewest running chunks are first, then those whose last turn is the longest ago. When an owner
        without running chunks finds no room, a running chunk is released after its step.
        """
        queues = await self._kernel.readers.for_server(self._kernel.store.service_queues)
        running = self._count_by_owner()
        last = self._last_turns = {owner: self._last_turns.get(owner, 0) for owner in {*running, *dict(queues)}}
        for owner, kind in sorted(queues, key=lambda queue: (running[queue[0]], last[queue[0]])):
            if kind in self._handlers:
                await self._claim_of((owner, kind))
        served = self._count_by_owner()
        turns_to_end = len({owner for owner, kind in queues if kind in self._handlers} - served.keys())
        for turn in turns_that_end(list(self._running.values()), turns_to_end):
            turn.is_over = True
        return False

    async def _claim_of(self, queue: Queue) -> None:
        """Claim chunks of a queue, and begin their turns."""
        in_queue = sum(turn.queue == queue for turn in self._running.values())
        capacity = min(MAX_RUNNING_CHUNKS - len(self._running), MAX_CHUNKS_PER_QUEUE - in_queue)
        if capacity <= 0:
            return
        owner, kind = queue
        claimed = await self._kernel.claims.claim_now(commands.ClaimChunks(owner, (kind,), capacity, self._claim))
        for chunk in claimed or ():
            turn = Turn(queue)
            task = asyncio.create_task(self._work_chunk(chunk, turn), name=f"{kind} {chunk.job.spec.job_id}")
            self._running[task] = turn
            self._last_turns[owner] = max(self._last_turns.values()) + 1
            task.add_done_callback(self._done)

    def _count_by_owner(self) -> Counter[str]:
        return Counter(turn.queue[0] for turn in self._running.values())

    def _done(self, task: "asyncio.Task[None]") -> None:
        del self._running[task]
        self.duty.wake_event.set()

    async def _work_chunk(self, claimed: commands.ClaimedChunk, turn: Turn) -> None:
        """Run a chunk and extend its lease; release it when its turn is over, or this server stops or is too busy."""
        work = asyncio.ensure_future(self._handlers[claimed.job.spec.kind](claimed, turn))
        try:
            while not (await asyncio.wait({work}, timeout=HEARTBEAT_SECONDS))[0]:
                if not await self._heartbeat(claimed):
                    return
            await work
            if turn.is_over:  # what has ended meanwhile is not released
                await self._release(work, claimed, "it is another owner's turn")
        except asyncio.CancelledError:
            await self._release(work, claimed, "this server is stopping")
            raise
        except TRANSIENT_REFUSALS as refusal:
            log.warning("a chunk of a service job is postponed", why=str(refusal), **_named(claimed))
            await self._release(work, claimed, "this server is too busy")
        except Exception as error:
            log.exception("a chunk of a service job failed", **_named(claimed))
            await self._fail(claimed, for_good=isinstance(error, Refusal | ValueError))
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _heartbeat(self, claimed: commands.ClaimedChunk) -> bool:
        """Extend the lease; return whether it is still held, as far as is known."""
        report = (claimed.lease, NOTHING_NEW)
        try:
            owner, now = claimed.job.spec.owner, self._kernel.clock()
            heartbeat = commands.Heartbeat(owner, [report], by_service=True, received=now, lease_duration=LEASE)
            [answer] = await self._committer.submit(heartbeat)
        except Refusal as refusal:
            log.warning("a lease of a service job was not extended", why=str(refusal), **_named(claimed))
            return True
        return answer.status is not commands.LeaseStatus.LEASE_LOST

    async def _release(self, work: "asyncio.Future[None]", claimed: commands.ClaimedChunk, reason: str) -> None:
        """Release the chunk without counting the attempt; a lease that cannot be released expires."""
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        item = (claimed.lease, NOTHING_NEW, Release(reason))
        await self._end_lease(claimed, commands.ReleaseChunks(claimed.job.spec.owner, [item], by_service=True))

    async def _fail(self, claimed: commands.ClaimedChunk, *, for_good: bool) -> None:
        error = WorkError("INTERNAL", "internal error; the service's log has the details under the job's id")
        failure = (claimed.lease, NOTHING_NEW, Failure(error, 0.5, for_good))
        await self._end_lease(claimed, commands.FailChunks(claimed.job.spec.owner, [failure], by_service=True))

    async def _end_lease(self, claimed: commands.ClaimedChunk, command: commands.Command[Any, Any]) -> None:
        try:
            await self._committer.submit(command)
        except Refusal as refusal:
            log.warning("a lease of a service job is left to expire", why=str(refusal), **_named(claimed))


def turns_that_end(turns: Sequence[Turn], count: int) -> list[Turn]:
    """Return turns to end, so that `count` turns end in all: the oldest ones of the owners with the most turns."""
    held = Counter(turn.queue[0] for turn in turns if not turn.is_over)
    ending: list[Turn] = []
    for _ in range(count - sum(turn.is_over for turn in turns)):
        lasting = (turn for turn in turns if not turn.is_over and turn not in ending)
        turn = max(lasting, key=lambda turn: held[turn.queue[0]], default=None)
        if turn is None:
            break
        held[turn.queue[0]] -= 1
        ending.append(turn)
    return ending


def _named(claimed: commands.ClaimedChunk) -> dict[str, object]:
    return {"job_id": claimed.job.spec.job_id, "chunk_index": claimed.chunk.index}
