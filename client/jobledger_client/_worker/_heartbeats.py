"""Heartbeats: all leases that are due, or have news, in one call."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn, Protocol

from jobledger.v1.worker_service_pb2 import HeartbeatResult, LeaseStatus

from jobledger_client._async._client import AsyncJobClient
from jobledger_client._errors import InvalidFieldError, JobledgerError
from jobledger_client._worker._news import News, Taken

logger = logging.getLogger("jobledger_client.worker")

_LARGEST_BATCH = 500
_SPACING = 0.5  # seconds between two calls that carry news


class Leaseholder(Protocol):
    """What holds a lease: an attempt at a chunk."""

    @property
    def lease_token(self) -> str:
        """The lease's name."""

    @property
    def news(self) -> News:
        """What there is to report."""

    def cancel_requested(self) -> None:
        """Hear that the job is to stop."""

    def lease_lost(self) -> None:
        """Hear that the chunk is somebody else's."""

    def refused(self, error: JobledgerError) -> None:
        """Hear that the service does not take what was reported."""


@dataclass(slots=True)
class _Entry:
    holder: Leaseholder
    due: float


class Heartbeats:
    """Extends every lease each third of its duration, and carries news at most each half second."""

    def __init__(self, client: AsyncJobClient, lease_duration: timedelta) -> None:
        self._client = client
        self._lease_duration = lease_duration
        self._interval = lease_duration.total_seconds() / 3
        self._entries: dict[str, _Entry] = {}
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()

    def add(self, holder: Leaseholder) -> None:
        """Keep this lease from now on."""
        self._entries[holder.lease_token] = _Entry(holder, self._loop.time() + self._interval)

    def remove(self, holder: Leaseholder) -> None:
        """Let this lease go."""
        self._entries.pop(holder.lease_token, None)

    def wake(self) -> None:
        """Note that there is news. Any thread may call this."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)

    async def run(self) -> NoReturn:
        """Beat for ever."""
        while True:
            await self._rest()
            self._wake.clear()
            due = self._due()
            for start in range(0, len(due), _LARGEST_BATCH):
                await self._beat(due[start : start + _LARGEST_BATCH])
            await asyncio.sleep(min(_SPACING, self._interval / 2))

    async def flush(self, holder: Leaseholder) -> None:
        """Report for one lease now."""
        entry = self._entries.get(holder.lease_token)
        if entry is not None:
            await self._beat([entry])

    async def _rest(self) -> None:
        earliest = min((entry.due for entry in self._entries.values()), default=self._loop.time() + self._interval)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, earliest - self._loop.time())):
                await self._wake.wait()

    def _due(self) -> list[_Entry]:
        now = self._loop.time()
        return [entry for entry in self._entries.values() if entry.holder.news or entry.due <= now]

    async def _beat(self, entries: list[_Entry]) -> None:
        sent_at = self._loop.time()
        taken = [entry.holder.news.take(entry.holder.lease_token) for entry in entries]
        try:
            results = await self._client.heartbeat(
                [one.report for one in taken], lease_duration=self._lease_duration, timeout=self._interval
            )
        except InvalidFieldError as error:
            await self._beat_apart(entries, error)
        except JobledgerError as error:
            logger.warning("heartbeat for %d chunks failed, more will follow: %s", len(entries), error)
        else:
            self._hear(entries, taken, results, sent_at)

    async def _beat_apart(self, entries: list[_Entry], error: JobledgerError) -> None:
        """One bad report refuses its whole call: send each alone, so that it refuses itself only."""
        if len(entries) > 1:
            for entry in entries:
                await self._beat([entry])
            return
        holder = entries[0].holder
        holder.news.confirm(holder.news.take(holder.lease_token))  # or it would be refused again with each beat
        holder.refused(error)

    def _hear(
        self, entries: list[_Entry], taken: list[Taken], results: Sequence[HeartbeatResult], sent_at: float
    ) -> None:
        for entry, report, result in zip(entries, taken, results, strict=True):
            entry.due = sent_at + self._interval
            if entry.holder.lease_token not in self._entries:
                continue  # it ended while the call was on its way
            if result.status == LeaseStatus.LEASE_STATUS_LEASE_LOST:
                self.remove(entry.holder)
                entry.holder.lease_lost()
                continue
            entry.holder.news.confirm(report)
            if result.status == LeaseStatus.LEASE_STATUS_CANCEL_REQUESTED:
                entry.holder.cancel_requested()
