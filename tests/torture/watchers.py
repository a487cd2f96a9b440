"""Watchers of one owner: streams of every form, resumed from the last cursor, and begun anew when history was lost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from random import Random

import grpc
from google.protobuf.message import Message
from jobledger.v1.filter_pb2 import JobFilter
from jobledger.v1.job_pb2 import JobState
from jobledger.v1.job_service_pb2 import (
    ListJobsRequest,
    WatchJobRequest,
    WatchJobsRequest,
    WatchMode,
)

from tests.support.errors import read
from tests.torture.history import STARTS_ANEW
from tests.torture.recorder import RecordedClient
from tests.torture.workload import PAUSE, SENTINEL

EVERY, LATEST = WatchMode.WATCH_MODE_EVERY, WatchMode.WATCH_MODE_LATEST
SHORT = 3.0
"""Seconds after which some watchers leave a stream and resume."""


@dataclass
class JobsWatcher:
    """Watches the jobs of an owner from the start of the load until it has seen the sentinel."""

    client: RecordedClient
    target: Callable[[], str]
    rng: Random
    mode: WatchMode.ValueType = EVERY
    states: tuple[JobState, ...] = ()
    batches: bool = False
    lists_first: bool = False
    from_now: bool = False
    leaves: bool = False
    """Whether it leaves its streams and resumes, again and again."""
    slow: bool = False
    """Whether it reads more slowly than the jobs change."""
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    _cursor: bytes = b""

    async def run(self) -> None:
        """Watch until the sentinel is seen."""
        while not self.finished.is_set():
            try:
                if self.lists_first and not self._cursor:
                    await self._list()
                await self._watch()
            except grpc.aio.AioRpcError as error:
                if reason_of(error) in STARTS_ANEW:
                    self._cursor = b""
                await asyncio.sleep(PAUSE)
            await self.client.move(self.target())

    async def _list(self) -> None:
        """List all pages; the cursor is that of the first."""
        request = ListJobsRequest(page_size=100, filter=self._filter())
        page = await self.client.call("ListJobs", request)
        cursor = page.cursor
        while page.next_page_token:
            request.page_token = page.next_page_token
            page = await self.client.call("ListJobs", request)
        self._cursor = cursor

    async def _watch(self) -> None:
        request = WatchJobsRequest(cursor=self._cursor, mode=self.mode, batches=self.batches, filter=self._filter())
        request.from_now = self.from_now and not self._cursor
        leaving = asyncio.get_running_loop().time() + SHORT * (1 + self.rng.random())
        async for message in self._messages(request):
            self._cursor = message.cursor or self._cursor
            if message.HasField("job") and message.job.kind == SENTINEL:
                self.finished.set()
                return
            if self.slow:
                await asyncio.sleep(0.02)
            if self.leaves and asyncio.get_running_loop().time() > leaving:
                return

    def _filter(self) -> JobFilter:
        return JobFilter(states=self.states)

    def _messages(self, request: Message) -> AsyncIterator[Message]:
        return self.client.stream("WatchJobs", request)


@dataclass
class JobWatcher:
    """Watches single jobs of an owner, each to its end or for a while."""

    client: RecordedClient
    target: Callable[[], str]
    rng: Random
    names: list[str] = field(default_factory=list)

    async def run(self, goes_on: Callable[[], bool]) -> None:
        """Watch one job after another. The name of the client says which watch it is."""
        base = self.client.name
        number = 0
        while goes_on():
            number += 1
            self.client.name = f"{base}-{number}"
            await self._watch_one(goes_on)

    async def _watch_one(self, goes_on: Callable[[], bool]) -> None:
        job_id = await self._newest()
        request = WatchJobRequest(job_id=job_id, mode=self.rng.choice((EVERY, LATEST)))
        while job_id and goes_on():
            try:
                async for message in self.client.stream("WatchJob", request, timeout=SHORT * 2):
                    request.cursor = message.cursor or request.cursor
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    return
                await asyncio.sleep(PAUSE)
                await self.client.move(self.target())
            else:
                return

    async def _newest(self) -> str:
        try:
            page = await self.client.call("ListJobs", ListJobsRequest(page_size=5))
        except grpc.aio.AioRpcError:
            await asyncio.sleep(PAUSE)
            await self.client.move(self.target())
            return ""
        if not page.jobs:
            await asyncio.sleep(PAUSE)
            return ""
        return self.rng.choice(page.jobs).job_id


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Return the reason of a refusal; empty for what the client itself says."""
    try:
        return read(error).reason
    except AssertionError:
        return ""
