"""Encoded replies to GetJob, cached until the job changes."""

from collections import OrderedDict
from collections.abc import Iterable

from jobledger_service.core.model.job import owner_of
from jobledger_service.core.store.reads import View

Key = tuple[str, View]
"""A job, and its view."""


class PendingReply:
    """A reply that is being read; stale when its job changed since. `pauses` counts those of its owner before it."""

    __slots__ = ("pauses", "stale")

    def __init__(self, pauses: int) -> None:
        self.pauses = pauses
        self.stale = False


class ReplyCache:
    """The cached replies of one process. Only for a store without other writers, whose writes it would miss."""

    def __init__(self, *, max_bytes: int = 64 * 1024 * 1024) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._replies: OrderedDict[tuple[Key, int], bytes] = OrderedDict()
        self._pauses: dict[str, int] = {}
        """How often each owner paused or resumed a kind: replies from before are no longer found."""
        self._pending: dict[str, list[PendingReply]] = {}

    def get(self, key: Key) -> bytes | None:
        """Return a current reply."""
        return self._replies.get((key, self._pauses_before(key[0]) if self._pauses else 0))

    def begin(self, job_key: str) -> PendingReply:
        """Record that a reply is about to be read."""
        pending = PendingReply(self._pauses_before(job_key))
        self._pending.setdefault(job_key, []).append(pending)
        return pending

    def finish(self, key: Key, pending: PendingReply, reply: bytes | None) -> None:
        """Cache a reply, unless its job changed since it was read; None when there is none to cache."""
        job_key = key[0]
        mine = self._pending.get(job_key)
        if mine is not None and pending in mine:
            mine.remove(pending)
            if not mine:
                del self._pending[job_key]
        place = key, pending.pauses
        if reply is None or pending.stale or place in self._replies:
            return
        self._replies[place] = reply
        self._bytes += len(reply)
        while self._bytes > self._max_bytes:
            _, oldest = self._replies.popitem(last=False)
            self._bytes -= len(oldest)

    def forget(self, job_keys: Iterable[str]) -> None:
        """Drop the replies of changed jobs."""
        for job_key in job_keys:
            pauses = self._pauses_before(job_key)
            for view in View:
                if (reply := self._replies.pop(((job_key, view), pauses), None)) is not None:
                    self._bytes -= len(reply)
            for pending in self._pending.pop(job_key, ()):
                pending.stale = True

    def forget_owner(self, owner: str) -> None:
        """Drop the replies of all jobs of an owner, at the cost of one."""
        self._pauses[owner] = self._pauses.get(owner, 0) + 1

    def _pauses_before(self, job_key: str) -> int:
        return self._pauses.get(owner_of(job_key), 0) if self._pauses else 0
