"""The calls that stay open: watches, and waiting claims, which end with their key; and streams without a key."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, TypeVar

from msgspec import Struct as MsgStruct

from jobledger_service.sharing.shares import Shares
from jobledger_service.transport.identity import Caller
from jobledger_service.transport.refusals import CallRefused, TooManyClaims, TooManyWatches

Name = TypeVar("Name")

MAX_PER_CONNECTION: Final = 16
"""Streams without a key of one connection: a client's channel watches the health of one service, or of a few."""
MAX_STREAMS: Final = 26_668
"""Such streams of all connections, which hosts share: a lone host, as a proxy is, may have 20,000."""


class _OpenCall(MsgStruct, eq=False):
    task: "asyncio.Task[None]"
    ended_by: CallRefused | None = None


class OpenCalls:
    """The open calls of one process, by key. Streams and claims have bounds of their own.

    `refuse_owner` makes the refusal of one stream too many of an owner, by its bound. On a server without keys all
    callers are as one key.
    """

    def __init__(
        self, streams_per_key: int, claims_per_key: int, refuse_owner: Callable[[str, int], Exception]
    ) -> None:
        self._of_key: dict[str, set[_OpenCall]] = {}
        self._streams_per_key = streams_per_key
        self._claims_per_key = claims_per_key
        self._refuse_owner = refuse_owner
        self._open: Counter[tuple[str, str]] = Counter()

    def streams_of(self, owner: str) -> int:
        """Return how many streams of an owner are open."""
        return self._open["streams of", owner]

    def stream(self, caller: Caller, max_of_owner: int | None) -> AbstractContextManager[None]:
        """Hold a stream, or a wait for an operation; `max_of_owner` bounds those of the owner, None for no bound.

        Raises TooManyWatches, and the refusals of `refuse_owner` and `cancel_refused`.
        """
        subject = _subject(caller)
        if self._open["streams", subject] >= self._streams_per_key:
            raise TooManyWatches(subject, self._streams_per_key)
        if max_of_owner is not None and self.streams_of(caller.owner) >= max_of_owner:
            raise self._refuse_owner(caller.owner, max_of_owner)
        return self._hold(caller, ("streams", subject), ("streams of", caller.owner))

    def claim(self, caller: Caller) -> AbstractContextManager[None]:
        """Hold a claim, which may wait for work; raises TooManyClaims, and the refusal of `cancel_refused`."""
        subject = _subject(caller)
        if self._open["claims", subject] >= self._claims_per_key:
            raise TooManyClaims(subject, self._claims_per_key)
        return self._hold(caller, ("claims", subject))

    @contextmanager
    def _hold(self, caller: Caller, *counted: tuple[str, str]) -> Iterator[None]:
        """Register the task's call as open during the block; raises the refusal of `cancel_refused`."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a handler is always within one
        call = _OpenCall(task)
        self._of_key.setdefault(caller.key_id, set()).add(call)
        self._open.update(counted)
        try:
            yield
        except asyncio.CancelledError:
            if call.ended_by is None or task.uncancel():
                raise
            raise call.ended_by from None
        finally:
            for name in counted:
                _remove(self._open, name)
            calls = self._of_key[caller.key_id]
            calls.discard(call)
            if not calls:
                del self._of_key[caller.key_id]

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


def _subject(caller: Caller) -> str:
    return f"key:{caller.key_id}" if caller.key_id else f"owner:{caller.owner}"


class PublicStreams:
    """The open streams that need no key, such as Watch of grpc.health.v1, by connection and by host.

    Hosts share them.
    """

    def __init__(self, max_streams: int = MAX_STREAMS, max_per_connection: int = MAX_PER_CONNECTION) -> None:
        self._max_per_connection = max_per_connection
        self._of_connection: Counter[str] = Counter()
        self._of_hosts = Shares(max_streams)

    @contextmanager
    def hold(self, peer: str) -> Iterator[None]:
        """Hold a stream of a connection, named as gRPC names it, `ipv4:HOST:PORT`; raises TooManyWatches."""
        host = peer.rpartition(":")[0]
        if self._of_connection[peer] >= self._max_per_connection:
            raise TooManyWatches("connection", self._max_per_connection)
        if not self._of_hosts.try_add(host, 1):
            raise TooManyWatches("server", self._of_hosts.limit)
        self._of_connection[peer] += 1
        try:
            yield
        finally:
            _remove(self._of_connection, peer)
            self._of_hosts.remove(host, 1)


def _remove(counts: Counter[Name], name: Name) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
