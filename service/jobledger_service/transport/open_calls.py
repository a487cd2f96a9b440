"""The calls that stay open: watches, and waiting claims. They end with their key."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .identity import Caller
from .refusals import CallRefused, TooManyWatches


@dataclass(slots=True, eq=False)
class _OpenCall:
    task: "asyncio.Task[None]"
    ended_by: CallRefused | None = None


class OpenCalls:
    """The open calls of one process, by key; of watches, no more than `per_key` and `per_owner`, None for no bound.

    On a server without keys all callers are as one key.
    """

    def __init__(self, per_key: int, per_owner: int | None = None) -> None:
        self._per_key = per_key
        self._per_owner = per_owner
        self._of_key: dict[str, set[_OpenCall]] = {}
        self._watches_of_key: Counter[str] = Counter()
        self._watches_of_owner: Counter[str] = Counter()

    @contextmanager
    def watch(self, caller: Caller) -> Iterator[None]:
        """Hold a watch; raises TooManyWatches, and the refusal of `cancel_refused`."""
        of_key, of_owner = self._watches_of_key, self._watches_of_owner
        if of_key[caller.key_id] >= self._per_key:
            if not caller.key_id:
                raise TooManyWatches.of_owner(caller.owner, self._per_key)
            raise TooManyWatches.of_key(caller.key_id, self._per_key)
        if self._per_owner is not None and of_owner[caller.owner] >= self._per_owner:
            raise TooManyWatches.of_owner(caller.owner, self._per_owner)
        of_key[caller.key_id] += 1
        of_owner[caller.owner] += 1
        try:
            with self.hold(caller):
                yield
        finally:
            of_key[caller.key_id] -= 1
            of_owner[caller.owner] -= 1

    @contextmanager
    def hold(self, caller: Caller) -> Iterator[None]:
        """Register the task's call as open during the block; raises the refusal of `cancel_refused`."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a handler is always within one
        call = _OpenCall(task)
        self._of_key.setdefault(caller.key_id, set()).add(call)
        try:
            yield
        except asyncio.CancelledError:
            if call.ended_by is None or task.uncancel():
                raise
            raise call.ended_by from None
        finally:
            self._forget(caller.key_id, call)

    def _forget(self, key_id: str, call: _OpenCall) -> None:
        calls = self._of_key[key_id]
        calls.discard(call)
        if not calls:
            del self._of_key[key_id]

    def cancel_refused(self, check: Callable[[str], None]) -> None:
        """End the calls of each key that `check` refuses."""
        for key_id, calls in self._of_key.items():
            try:
                check(key_id)
            except CallRefused as refusal:
                for call in calls:
                    if call.ended_by is None:
                        call.ended_by = refusal
                        call.task.cancel()
