"""Turns on the event loop: of many tasks that have much to do at once, one continues in each pass of the loop."""

import asyncio
from collections import OrderedDict, deque


class LoopTurns:
    """Lets tasks continue one by one, owners in turn; what else is ready runs in between."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._is_going = False

    async def next(self, owner: str) -> None:
        """Wait for the task's turn."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._lines.setdefault(owner, deque()).append(turn)
        if not self._is_going:
            self._is_going = True
            loop.call_soon(self._go_on)
        await turn

    def _go_on(self) -> None:
        """Let one task continue, in the next pass, and another in the one after."""
        while self._lines:
            owner, line = self._lines.popitem(last=False)
            turn = line.popleft()
            if line:
                self._lines[owner] = line
            if not turn.done():  # its task may have been cancelled
                turn.set_result(None)
                asyncio.get_running_loop().call_soon(self._go_on)
                return
        self._is_going = False
