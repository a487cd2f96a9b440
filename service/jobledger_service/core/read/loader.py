"""Shared reads: keys requested during a read are read together by the next one."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Generic, TypeVar

from jobledger_service.core.halving import Halving
from jobledger_service.core.model.refusals.errors import Refusal
from jobledger_service.sharing.turns import Turns

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
_Callers = dict[Key, "list[asyncio.Future[Value]]"]


class NotReadError(Exception):
    """A read had room for other keys and none for this one: the next read includes it."""


class Loader(Generic[Key, Value]):
    """Gathers single reads into sets of at most `limit` keys.

    A read always begins after its request. Keys of different owners go into a set in turn, one of each; `owner_of`
    returns the owner of a key.
    """

    def __init__(
        self,
        fetch: Callable[[Sequence[Key]], Awaitable[Callable[[Key], Value]]],
        limit: int = 256,
        owner_of: Callable[[Key], str] = lambda _: "",
    ) -> None:
        self._fetch = fetch
        self._limit = limit
        self._owner_of = owner_of
        self._turns: Turns[str, Key] = Turns()
        self._callers: _Callers[Key, Value] = {}
        self._running: asyncio.Task[None] | None = None

    async def load(self, key: Key) -> Value:
        """Return the value of a key."""
        caller: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        self._add(key, [caller])
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="loader")
        return await caller

    def _add(self, key: Key, callers: "list[asyncio.Future[Value]]") -> None:
        waiting = self._callers.get(key)
        if waiting is None:
            self._callers[key] = callers
            self._turns.add(self._owner_of(key), key)
        else:
            waiting += callers

    def _take(self) -> "_Callers[Key, Value]":
        """Return the next set of keys, without those whose callers have left."""
        taken: _Callers[Key, Value] = {}
        while self._turns and len(taken) < self._limit:
            key = self._turns.take()
            callers = self._callers.pop(key)
            if not all(caller.done() for caller in callers):
                taken[key] = callers
        return taken

    async def _run(self) -> None:
        try:
            while self._turns:
                if callers := self._take():
                    await self._serve(callers)
        finally:
            self._running = None

    async def _serve(self, callers: "Mapping[Key, list[asyncio.Future[Value]]]") -> None:
        """Read a set of keys; halving the set finds a key at which the read fails, and it fails alone."""
        parts = Halving(list(callers))
        for keys in parts:
            try:
                value_of = await self._fetch(keys)
            except Exception as error:  # noqa: BLE001  whatever it is, the callers get it
                if isinstance(error, Refusal) or not parts.split(keys):
                    _fail(chain.from_iterable(callers[key] for key in keys), error)
            else:
                self._settle({key: callers[key] for key in keys}, value_of)

    def _settle(self, callers: "_Callers[Key, Value]", value_of: Callable[[Key], Value]) -> None:
        """Give callers the values that a read found."""
        for key, of_key in callers.items():
            try:
                value = value_of(key)
            except NotReadError:
                self._add(key, of_key)
            except Exception as error:  # noqa: BLE001  as above
                _fail(of_key, error)
            else:
                _answer(of_key, value)


def _answer(callers: "Iterable[asyncio.Future[Value]]", value: Value) -> None:
    for caller in callers:
        if not caller.done():
            caller.set_result(value)


def _fail(callers: "Iterable[asyncio.Future[Value]]", error: Exception) -> None:
    for caller in callers:
        if not caller.done():
            caller.set_exception(error)
