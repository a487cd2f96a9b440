"""Encoded jobs, and replies of lists, kept for the next calls until the jobs change."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from jobledger_service.core.database.rows.reads import JobRead, View
from jobledger_service.core.model.job import NO_OUTPUTS, owner_of
from jobledger_service.core.write.batch import Commit

Key = TypeVar("Key", str, tuple[str, bytes])

MAX_REPLY_SECONDS: Final = 10.0
"""The age of the oldest reply that is used: the history after the cursor of a list must not have been trimmed."""
MAX_CHANGES: Final = 10_000
"""The jobs, and the owners, whose last change is remembered."""
MAX_JOINED_BYTES: Final = 512 * 1024
"""Bytes of a reply that is made, or kept, on the event loop."""
_OVERHEAD_BYTES: Final = 300
"""Bytes of an entry beside what is encoded."""


class _Entry(NamedTuple):
    """What was encoded from a read that began after `begun` commits, and saw the ledger at `position`.

    `checked` is whether JSON can represent it, which lists require.
    """

    encoded: bytes
    begun: int
    position: int = 0
    checked: bool = False
    has_output: bool = False
    time: float = 0.0


class _Changes:
    """The number of the commit that changed each of the last keys; an upper bound for all others."""

    def __init__(self) -> None:
        self._last: OrderedDict[str, int] = OrderedDict()
        self._of_others = 0

    def record(self, key: str, number: int) -> None:
        self._last[key] = number
        self._last.move_to_end(key)
        if len(self._last) > MAX_CHANGES:
            _, self._of_others = self._last.popitem(last=False)

    def last(self, key: str) -> int:
        """Return the number of the commit that changed a key last, or a later one."""
        return self._last.get(key, self._of_others)


_NONE: Final[Mapping[View, _Entry]] = {}


class _Kept(Generic[Key]):
    """Entries by a key and a part of it, up to a number of bytes: the first keys that were added make room."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[Key, dict[View, _Entry]] = OrderedDict()

    def get(self, key: Key) -> Mapping[View, _Entry]:
        return self._entries.get(key, _NONE)

    def put(self, key: Key, view: View, entry: _Entry) -> None:
        of_key = self._entries.setdefault(key, {})
        replaced = of_key.get(view)
        of_key[view] = entry
        self._bytes += _size(entry) - (_size(replaced) if replaced else 0)
        while self._bytes > self._max_bytes:
            self.drop(next(iter(self._entries)))

    def drop(self, key: Key) -> None:
        if (dropped := self._entries.pop(key, None)) is not None:
            self._bytes -= sum(map(_size, dropped.values()))


def _size(entry: _Entry) -> int:
    return len(entry.encoded) + _OVERHEAD_BYTES


class EncodedJobs:
    """What one process encoded. Only for a store without other writers, whose changes it would miss.

    It changes on the event loop alone. A commit drops its jobs before its callers get their answers.
    """

    def __init__(
        self, position: int, *, max_bytes: int = 64 * 1024 * 1024, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._monotonic = monotonic
        self._jobs: _Kept[str] = _Kept(max_bytes * 3 // 4)
        self._replies: _Kept[tuple[str, bytes]] = _Kept(max_bytes // 4)
        """By owner and request."""
        self._commits = 0
        self._changes, self._owners, self._pauses = _Changes(), _Changes(), _Changes()
        self._position = position
        """The position through which the jobs of all events were dropped."""

    def on_commit(self, commit: Commit) -> None:
        """Drop the changed jobs; pausing a kind is a change of all jobs of its owner, at the cost of one."""
        self._commits += 1
        for key in commit.touched:
            self._changes.record(key, self._commits)
            self._jobs.drop(key)
        paused = {owner for owner, _ in commit.pauses}
        for owner in paused:
            self._pauses.record(owner, self._commits)
        for owner in paused.union(map(owner_of, commit.touched)):
            self._owners.record(owner, self._commits)
        if commit.entries:
            self._position = commit.entries[-1].position

    def job(self, key: str, view: View) -> bytes | None:
        """Return a job as it is now, as field 1 of a reply, with its output; None when it is not kept."""
        entry = self._jobs.get(key).get(view)
        return entry.encoded if entry is not None and entry.begun >= self._pauses.last(owner_of(key)) else None

    def jobs(self, owner: str, keys: Sequence[str], view: View) -> bytes | None:
        """Return jobs of an owner as they all are now, joined; None when one is not kept, or they are large."""
        parts = [entry.encoded for _, entry in self._current(owner, keys, view)]
        return b"".join(parts) if len(parts) == len(keys) and sum(map(len, parts)) <= MAX_JOINED_BYTES else None

    def reply(self, owner: str, request: bytes, view: View) -> bytes | None:
        """Return the reply to an encoded request for a list of an owner's jobs, none of which changed since."""
        entry = self._replies.get((owner, request)).get(view)
        if entry is None or entry.begun < self._owners.last(owner):
            return None
        return entry.encoded if self._monotonic() - entry.time <= MAX_REPLY_SECONDS else None

    def reading(self, owner: str, view: View, *, with_outputs: bool, checked: bool) -> "Reading":
        """Return what a read of an owner's jobs that begins now uses and adds."""
        return _Reading(self, owner, self._commits, view, with_outputs=with_outputs, checked=checked)

    def known(
        self, owner: str, keys: Sequence[str], view: View, position: int, *, with_outputs: bool
    ) -> Mapping[str, bytes]:
        """Return the known ones of some jobs, as they are in a snapshot at a position; on any thread."""
        if self._position < position:
            return {}
        return {
            key: entry.encoded
            for key, entry in self._current(owner, keys, view)
            if entry.position <= position and (with_outputs or not entry.has_output)
        }

    def _current(self, owner: str, keys: Sequence[str], view: View) -> list[tuple[str, _Entry]]:
        """Return the entries of those jobs that may be in lists."""
        oldest, get = self._pauses.last(owner), self._jobs.get
        entries = [(key, get(key).get(view)) for key in keys]
        return [(key, entry) for key, entry in entries if entry is not None and entry.checked and entry.begun >= oldest]

    def add_job(self, key: str, view: View, entry: _Entry) -> None:
        """Keep a job unless it changed since the read began."""
        if self._changes.last(key) <= entry.begun:
            self._jobs.put(key, view, entry)

    def add_reply(self, owner: str, request: bytes, view: View, reply: bytes, begun: int) -> None:
        """Keep the reply to a request for a list, unless one of the owner's jobs changed since the read began."""
        if len(reply) <= MAX_JOINED_BYTES and self._owners.last(owner) <= begun:
            self._replies.put((owner, request), view, _Entry(reply, begun, time=self._monotonic()))


class Reading:
    """What a read finds among the encoded jobs, and adds to them: here, nothing."""

    begun = 0

    def known(self, _keys: Sequence[str], _position: int) -> Mapping[str, bytes]:
        """Return the known ones of some jobs, as they are in the read's snapshot at a position."""
        return {}

    def add(self, encoded: Sequence[tuple[JobRead, bytes]], position: int) -> None:
        """Keep jobs that were read at a position."""


NOTHING_KEPT: Final = Reading()


class _Reading(Reading):
    """Made on the event loop when the read begins, and used by it on any thread.

    A job that is known shows every event up to the read's position and no later one, and every acknowledged change.
    """

    def __init__(
        self, jobs: EncodedJobs, owner: str, begun: int, view: View, *, with_outputs: bool, checked: bool
    ) -> None:
        self.begun = begun
        self._owner = owner
        self._jobs = jobs
        self._view = view
        self._with_outputs = with_outputs
        self._checked = checked
        self._loop = asyncio.get_running_loop()

    def known(self, keys: Sequence[str], position: int) -> Mapping[str, bytes]:
        return self._jobs.known(self._owner, keys, self._view, position, with_outputs=self._with_outputs)

    def add(self, encoded: Sequence[tuple[JobRead, bytes]], position: int) -> None:
        """Keep jobs that were read, without those with a place in a queue, which changes with other jobs."""
        entries = [
            (read.key, _Entry(part, self.begun, position, self._checked, read.outputs != NO_OUTPUTS))
            for read, part in encoded
            if read.place is None and (self._with_outputs or not read.output_bytes)
        ]
        if entries:
            self._loop.call_soon_threadsafe(self._add, entries)

    def _add(self, entries: Sequence[tuple[str, _Entry]]) -> None:
        for key, entry in entries:
            self._jobs.add_job(key, self._view, entry)
