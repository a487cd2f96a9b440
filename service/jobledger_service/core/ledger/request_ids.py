"""The requests that took effect, by their ids: each takes effect once."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.change import JobDelta
from jobledger_service.core.model.job import Job

from .row_families import Needs, RowFamily, keys_of
from .undo import Undo
from .write_ports import ConflictError


class Request(MsgStruct, frozen=True):
    """A request that took effect: its fingerprint, and its job."""

    fingerprint: bytes
    job_key: str


class RequestRows(Protocol):
    """The rows of requests, in the transaction of a batch."""

    def find(self, keys: Iterable[str]) -> dict[str, Request]:
        """Return those that exist."""

    def insert(self, requests: Mapping[str, Request], now: int) -> None:
        """Insert new ones, in the order of their keys."""


class RequestIds(RowFamily):
    """RequestIds by key, as the commands so far left them."""

    rank = 2

    def __init__(self, rows: RequestRows, undo: Undo) -> None:
        self._rows = rows
        self._undo = undo
        self._wanted: set[str] = set()
        self._known: dict[str, Request] = {}
        self._new: dict[str, Request] = {}

    def find_jobs(self, needs: Sequence[Needs]) -> Iterable[str]:
        """Return the jobs of requests that took effect."""
        self._wanted = keys_of(RequestIds, needs)
        if self._wanted:
            self._known = self._rows.find(self._wanted)
        return {request.job_key for request in self._known.values()}

    def load(self, needs: Sequence[Needs], jobs: Mapping[str, Job]) -> None:
        """Load requests that took effect at another replica while this one waited for its locks on their jobs.

        Locking such a job now would break the order: the batch begins again, and then includes it from the start.
        """
        missing = self._wanted - self._known.keys()
        if not missing or not jobs.keys() & {key for need in needs if need.rows.get(RequestIds) for key in need.jobs}:
            return
        found = self._rows.find(missing)
        self._known |= found
        if {request.job_key for request in found.values()} - jobs.keys():
            raise ConflictError("a request took effect elsewhere while its job was waited for")

    def find(self, key: str) -> Request | None:
        """Return the request that took effect under this key, if one did."""
        return self._known.get(key)

    def record(self, key: str, request: Request) -> None:
        """Record that a request took effect."""
        self._undo.put(self._known, key, request)
        self._undo.put(self._new, key, request)

    def save(self, deltas: Sequence[JobDelta], now: int) -> bool:  # noqa: ARG002  it is about no job
        """Write the new ones."""
        if self._new:
            self._rows.insert(self._new, now)
        return False
