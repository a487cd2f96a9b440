"""Encoded replies to GetJob, cached until the job changes."""

from collections import OrderedDict
from collections.abc import Iterable

from jobledger_service.core.store.reads import View

Key = tuple[str, View]
"""A job, and its view."""


class PendingReply:
    """A reply that is being read; stale when its job changed since."""

    __slots__ = ("stale",)

    def __init__(self) -> None:
        self.stale = False


class ReplyCache:
    """The cached replies of one process. Only for a store without other writers, whose writes it would miss."""

    def __init__(self, *, max_bytes: int = 64 * 1024 * 1024) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._replies: OrderedDict[Key, bytes] = OrderedDict()
        self._pending: dict[str, list[PendingReply]] = {}

    def get(self, key: Key) -> bytes | None:
        """Return a current reply."""
        return self._replies.get(key)

    def begin(self, job_key: str) -> PendingReply:
        """Record that a reply is about to be read."""
        pending = PendingReply()
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
        if reply is None or pending.stale or key in self._replies:
            return
        self._replies[key] = reply
        self._bytes += len(reply)
        while self._bytes > self._max_bytes:
            _, oldest = self._replies.popitem(last=False)
            self._bytes -= len(oldest)

    def forget(self, job_keys: Iterable[str]) -> None:
        """Drop the replies of changed jobs."""
        for job_key in job_keys:
            for view in View:
                if (reply := self._replies.pop((job_key, view), None)) is not None:
                    self._bytes -= len(reply)
            for pending in self._pending.pop(job_key, ()):
                pending.stale = True
