"""One read for all that wait: keys asked for while a read runs go into the next read together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from jobledger_service.domain.errors import Refusal

Key = TypeVar("Key")
Value = TypeVar("Value")


class NotReadError(Exception):
    """A read had no room for this key, and for another one it had: the key goes into the next read."""


class Loader(Generic[Key, Value]):
    """Gathers single reads into sets of at most `most` keys. A read begins after it was asked for, never before."""

    def __init__(self, fetch: Callable[[Sequence[Key]], Awaitable[Callable[[Key], Value]]], most: int = 256) -> None:
        self._fetch = fetch
        self._most = most
        self._waiting: dict[Key, list[asyncio.Future[Value]]] = {}
        self._running: asyncio.Task[None] | None = None

    async def load(self, key: Key) -> Value:
        """Return the value of a key."""
        caller: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(caller)
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="loader")
        return await caller

    async def _run(self) -> None:
        try:
            while self._waiting:
                keys = list(self._waiting)[: self._most]
                callers = {key: self._waiting.pop(key) for key in keys}
                await self._serve(callers)
        finally:
            self._running = None

    async def _serve(self, callers: dict[Key, list["asyncio.Future[Value]"]]) -> None:
        """Read a set of keys; one that the read fails at is found by halving the set: it fails alone."""
        try:
            value_of = await self._fetch(list(callers))
        except Exception as error:  # noqa: BLE001  whatever it is, it is the callers' to hear
            if len(callers) > 1 and not isinstance(error, Refusal):
                keys = list(callers)
                for half in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
                    await self._serve({key: callers[key] for key in half})
                return
            for caller in (one for ones in callers.values() for one in ones if not one.done()):
                caller.set_exception(error)
            return
        for key, ones in callers.items():
            try:
                value = value_of(key)
            except NotReadError:
                self._waiting.setdefault(key, []).extend(ones)
                continue
            for caller in ones:
                if not caller.done():
                    caller.set_result(value)
