"""Who is next: owners whose items wait take turns, one item each, however much one of them has waiting."""

import asyncio
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Owner = TypeVar("Owner", bound=Hashable)
Item = TypeVar("Item", bound=Hashable)


class Turns(Generic[Owner, Item]):
    """A line of items for each owner; the owner whose item is taken goes to the end."""

    def __init__(self) -> None:
        self._lines: OrderedDict[Owner, OrderedDict[Item, None]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __contains__(self, owner: Owner) -> bool:
        """Whether an item of an owner waits."""
        return owner in self._lines

    def __iter__(self) -> Iterator[Owner]:
        """Iterate over the owners, in the order of their turns."""
        return iter(self._lines)

    def add(self, owner: Owner, item: Item) -> None:
        """Add an item to the line of its owner."""
        line = self._lines.get(owner)
        if line is None:
            line = self._lines[owner] = OrderedDict()
        line[item] = None

    def first(self, owner: Owner) -> Item | None:
        """Return the first item of an owner, None when none waits."""
        line = self._lines.get(owner)
        return next(iter(line)) if line else None

    def take(self) -> Item:
        """Take the item whose turn it is."""
        return self.take_from(next(iter(self._lines)))

    def take_from(self, owner: Owner) -> Item:
        """Take the first item of an owner, as its turn."""
        line = self._lines[owner]
        item, _ = line.popitem(last=False)
        if line:
            self._lines.move_to_end(owner)
        else:
            del self._lines[owner]
        return item

    def remove(self, owner: Owner, item: Item) -> None:
        """Remove a waiting item; does nothing when it does not wait."""
        line = self._lines.get(owner)
        if line is not None:
            line.pop(item, None)
            if not line:
                del self._lines[owner]


class LoopTurns:
    """Lets tasks that have much to do continue one by one, each in another pass of the event loop."""

    def __init__(self) -> None:
        self._turns: Turns[str, asyncio.Future[None]] = Turns()
        self._is_running = False

    async def next(self, owner: str) -> None:
        """Wait for the task's turn."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._turns.add(owner, turn)
        if not self._is_running:
            self._is_running = True
            loop.call_soon(self._run_next)
        await turn

    def _run_next(self) -> None:
        """Let one task continue, in the next pass, and another in the one after."""
        while self._turns:
            turn = self._turns.take()
            if not turn.done():  # its task may have been cancelled
                turn.set_result(None)
                asyncio.get_running_loop().call_soon(self._run_next)
                return
        self._is_running = False
