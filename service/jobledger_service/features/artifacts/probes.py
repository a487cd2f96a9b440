"""Checks that the stores of artifacts answer: the buckets and directories that the operator named, and no others."""

import asyncio
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Final

from jobledger_service.core.model.history.vitals import Component, ComponentKind
from jobledger_service.core.model.micros import Micros

from .objects import has_bucket
from .rules import FILE, Root, Roots

PROBE_SECONDS: Final = 5.0
"""Seconds after which a store that has not answered counts as silent."""
PROBE_THREAD: Final = "artifact store"


class StoreProbes:
    """Checks each store periodically, and records the result in `components`.

    A probe that hangs blocks only its own daemon thread; no other probe of the store begins meanwhile.
    """

    def __init__(self, roots: Roots, components: MutableMapping[str, Component], clock: Callable[[], Micros]) -> None:
        self._stores = {_name_of(root): root for root in roots.all}
        self._running: dict[str, asyncio.Future[str]] = {}
        self._components = components
        components.update(dict.fromkeys(self._stores, Component(ComponentKind.ARTIFACT_STORE)))
        self._clock = clock

    async def once(self) -> bool:
        """Check all stores at once, in at most PROBE_SECONDS; return False."""
        await asyncio.gather(*map(self._check, self._stores))
        return False

    async def _check(self, name: str) -> None:
        answer = self._running.get(name)
        if answer is None or answer.done():
            answer = self._running[name] = _on_thread(partial(probe, self._stores[name]))
        await asyncio.wait({answer}, timeout=PROBE_SECONDS)
        problem = answer.result() if answer.done() else f"it has not answered within {PROBE_SECONDS:g} s"
        self._components[name] = Component(ComponentKind.ARTIFACT_STORE, self._clock(), problem)


def probe(root: Root) -> str:
    """Return why the store of a root does not work, empty when it does; a store that refuses the question works."""
    try:
        if root.scheme == FILE:
            directory = _directory(root)
            return "" if Path(directory).is_dir() else f"the directory {directory} is not there"
        return "" if has_bucket(root) else f"the bucket {root.authority} is not there"
    except Exception as error:  # noqa: BLE001  each driver raises errors of its own; what they say may name secrets
        return f"it fails with {type(error).__name__}"


def _name_of(root: Root) -> str:
    where = _directory(root) if root.scheme == FILE else root.authority
    return f"artifact store {root.scheme}://{where}"


def _directory(root: Root) -> str:
    """Return the directory of a root that is there for all owners."""
    return "/" + "/".join(root.segments[: root.owner_depth])


def _on_thread(work: Callable[[], str]) -> "asyncio.Future[str]":
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def run() -> None:
        result = work()
        with suppress(RuntimeError):  # the process ends, and its loop is closed
            loop.call_soon_threadsafe(answer.set_result, result)

    Thread(target=run, name=PROBE_THREAD, daemon=True).start()
    return answer
