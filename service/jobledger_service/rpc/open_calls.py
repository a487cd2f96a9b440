"""The calls that stay open: watches, and claims that wait. They end with the key that they were made with."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from jobledger_service.domain.access import Caller
from jobledger_service.domain.errors import Refusal


@dataclass(slots=True, eq=False)
class _OpenCall:
    task: "asyncio.Task[None]"
    ended_by: Refusal | None = None


class OpenCalls:
    """The open calls of one process, by key."""

    def __init__(self) -> None:
        self._of_key: dict[str, set[_OpenCall]] = {}

    @contextmanager
    def hold(self, caller: Caller) -> Iterator[None]:
        """Note the task's call as open during the block; raises what `sweep` ends it with."""
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

    def sweep(self, check: Callable[[str], None]) -> None:
        """End the calls of each key that `check` refuses."""
        for key_id, calls in self._of_key.items():
            try:
                check(key_id)
            except Refusal as refusal:
                for call in calls:
                    if call.ended_by is None:
                        call.ended_by = refusal
                        call.task.cancel()
