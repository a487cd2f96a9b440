"""Claims that wait for work: woken when chunks become ready, first come, first served."""

import asyncio
from collections import deque
from collections.abc import Mapping

from .commands import ClaimChunks, Claimed
from .committer import Committer
from .ports import Queue

POLL = 5.0
"""Seconds after which a waiting claim looks again, whatever it heard: a wake-up is a hint."""

CONTENDED = 0.5
"""Seconds for which a claim tries again at once when other replicas are at the same chunks."""
MOMENT = 0.005


class ClaimQueue:
    """Long polls for chunks."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self._closing = False
        self._waiting: dict[Queue, deque[asyncio.Event]] = {}

    async def claim(self, command: ClaimChunks, wait: float) -> list[Claimed]:
        """Return leased chunks, waiting up to `wait` seconds for some; none when there are none by then."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        contended_until = loop.time() + CONTENDED
        while True:
            claimed = await self._committer.submit(command)
            while claimed is None and loop.time() < contended_until:
                await asyncio.sleep(MOMENT)
                claimed = await self._committer.submit(command)
            again = POLL if claimed is not None else CONTENDED
            claimed = claimed or []
            left = deadline - loop.time()
            if claimed or left <= 0 or self._closing:
                return claimed
            await self._wait(command, min(left, again))

    async def _wait(self, command: ClaimChunks, seconds: float) -> None:
        woken = asyncio.Event()
        queues = [(command.owner, kind) for kind in command.kinds]
        for queue in queues:
            self._waiting.setdefault(queue, deque()).append(woken)
        try:
            async with asyncio.timeout(seconds):
                await woken.wait()
        except TimeoutError:
            pass
        finally:
            self._forget(queues, woken)

    def _forget(self, queues: list[Queue], woken: asyncio.Event) -> None:
        for queue in queues:
            waiting = self._waiting.get(queue)
            if waiting is not None:
                if woken in waiting:
                    waiting.remove(woken)
                if not waiting:
                    del self._waiting[queue]

    def wake(self, ready: Mapping[Queue, int]) -> None:
        """Wake as many of the longest waiting claims as there are chunks ready for them."""
        for queue, count in ready.items():
            waiting = self._waiting.get(queue, deque())
            for _ in range(min(count, len(waiting))):
                waiting.popleft().set()

    def close(self) -> None:
        """End the waiting: claims answer with what there is."""
        self._closing = True
        for waiting in self._waiting.values():
            for woken in waiting:
                woken.set()
