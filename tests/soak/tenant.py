"""An owner of the soak: jobs of all sorts from creation to deletion, workers who vanish, and watchers who check."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from random import Random
from typing import Any

import grpc
from jobledger.v1.export_pb2 import ExportFormat, ExportJobsRequest
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import ListEventsRequest, UpdateJobRequest, WatchMode
from jobledger.v1.webhook_pb2 import WebhookEventType
from jobledger.v1.webhook_service_pb2 import CreateWebhookRequest
from jobledger.v1.webhook_service_pb2_grpc import WebhookServiceStub

from tests.support.bounds import within
from tests.support.keys import KeyedApi
from tests.support.lives import assert_gapless, assert_ordered
from tests.support.states import FAILED
from tests.support.watching import Ended

EVERY = WatchMode.WATCH_MODE_EVERY
KINDS = ("soak.fetch", "soak.encode", "soak.publish")
LEASE = timedelta(seconds=2)
CALL_SECONDS = 30.0
PAUSE_SECONDS = 0.2
"""How long an owner holds back after a refusal, and a worker without work."""
STEP_SECONDS = {"create": 0.5, "change": 0.4, "read": 0.5, "watch": 0.3, "watch_one": 0.3}
"""How often an owner takes a step at most: the load, and with it what retention keeps, does not follow the machine."""
MAX_OPEN = 30
"""Jobs of an owner that are watched over at a time."""
EXPECTED = {
    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ABORTED, grpc.StatusCode.OUT_OF_RANGE,
}  # fmt: skip
"""What calls end with while servers are killed and retention deletes; anything else is a violation."""


class Tenant:
    """One owner; `operations` counts calls by name, `violations` what must not happen."""

    def __init__(self, owner: str, token: str, targets: Sequence[str], seed: int) -> None:
        self.owner = owner
        self.operations: Counter[str] = Counter()
        self.violations: list[str] = []
        self._rng = Random(f"{seed} {owner}")
        self._apis = [KeyedApi(target, token) for target in targets]
        self._open: list[str] = []

    async def live(self, webhook_url: str) -> None:
        """Do everything at once until cancelled."""
        await self._tried("webhook", lambda: self._make_webhook(webhook_url))
        steps = [self._create, self._work, self._work, self._change, self._read, self._watch, self._watch_one]
        try:
            await asyncio.gather(*(self._forever(step) for step in steps))
        finally:
            for api in self._apis:
                await api.channel.close()

    async def _forever(self, step: Callable[[], Awaitable[None]]) -> None:
        name = step.__name__.strip("_")
        while True:
            await asyncio.gather(self._tried(name, step), asyncio.sleep(STEP_SECONDS.get(name, 0)))

    async def _tried(self, name: str, step: Callable[[], Awaitable[None]]) -> None:
        """Take a step; count it, or what was wrong."""
        try:
            await within(step(), CALL_SECONDS)
            self.operations[name] += 1
        except grpc.aio.AioRpcError as error:
            self.operations[f"{name}: {error.code().name}"] += 1
            if error.code() not in EXPECTED:
                self.violations.append(f"{self.owner}: {name}: {error.code().name}: {error.details()}")
            await asyncio.sleep(PAUSE_SECONDS)
        except TimeoutError:
            self.operations[f"{name}: no answer"] += 1
        except AssertionError as error:
            self.violations.append(f"{self.owner}: {name}: {error}")

    @property
    def _api(self) -> KeyedApi:
        return self._rng.choice(self._apis)

    async def _make_webhook(self, url: str) -> None:
        types = [WebhookEventType.WEBHOOK_EVENT_TYPE_JOB_COMPLETED]
        request = CreateWebhookRequest(url=url, event_types=types, kinds=KINDS[:1], request_id=f"hook-{self.owner}")
        await WebhookServiceStub(self._api.channel).CreateWebhook(request)

    async def _create(self) -> None:
        fields: dict[str, Any] = {
            "labels": {"user": f"u{self._rng.randrange(5)}", "mark": self.owner},
            "display_name": f"part {self._rng.randrange(100)} of {self.owner}",
            "input": {"path": "x" * self._rng.choice((10, 100, 5_000))},
            "chunks": [{} for _ in range(self._rng.randint(1, 6))],
            "retry_policy": {"max_attempts": 2, "initial_backoff": timedelta(milliseconds=100)},
        }
        job = await self._api.create(self._rng.choice(KINDS), **fields)
        assert job.owner == self.owner, f"job {job.job_id} is of {job.owner}"
        self._open.append(job.job_id)
        while len(self._open) > MAX_OPEN:
            await self._finish(self._open.pop(0))

    async def _finish(self, job_id: str) -> None:
        """Cancel a job that is too old, unless it has ended; retention deletes it."""
        with suppress(grpc.aio.AioRpcError):
            await self._api.cancel(job_id, grace_period=timedelta(seconds=1))

    async def _work(self) -> None:
        """Claim some chunks, and complete, fail, release or abandon them."""
        api = self._api
        claimed = await api.claim(
            self._rng.choice(KINDS), self._rng.randint(1, 8), worker=f"w{self._rng.randrange(4)}",
            lease_duration=LEASE, wait=timedelta(seconds=1),
        )  # fmt: skip
        for held in claimed:
            assert held.labels["mark"] == self.owner, f"{self.owner} was given a chunk of {held.job_id}"
            await api.report(held, percent=50, message="half", stage="work")
        if not claimed:
            return
        match self._rng.randrange(12):
            case 0:
                await api.fail(*claimed, message="it broke", not_retryable=self._rng.random() < 0.3)
            case 1:
                await api.release(*claimed)
            case 2:
                return  # the worker has vanished
            case _:
                artifacts = {"still": {"uri": f"s3://films/{self.owner}.png", "size_bytes": 7}}
                await api.complete(*claimed, progress={"artifacts": artifacts}, output={"seconds": 1.5})

    async def _change(self) -> None:
        """Update, cancel, retry or delete one of the newest jobs."""
        if not self._open:
            await asyncio.sleep(PAUSE_SECONDS)
            return
        api, job_id = self._api, self._rng.choice(self._open)
        job = await api.get(job_id)
        match self._rng.randrange(4):
            case 0:
                mask = {"paths": ["priority"]}
                request = UpdateJobRequest(job_id=job_id, update_mask=mask, priority=self._rng.randrange(11))
                await api.jobs.UpdateJob(request)
            case 1 if job.state == FAILED:
                await api.retry(job_id, reason="once more")
            case 2:
                await api.cancel(job_id)
            case 3 if job.HasField("end_time"):
                await api.delete(job_id)

    async def _read(self) -> None:
        """Read lists, a search, statistics, events, chunks or an export; everything must be the owner's."""
        api = self._api
        fields = self._rng.choice([{}, {"labels": {"user": "u1"}}, {"search": "part"}, {"kinds": KINDS[:1]}])
        page = await api.list_jobs(filter=fields, page_size=50)
        self._check_owner(page.jobs)
        if page.jobs:
            await api.list_chunks(page.jobs[0].job_id)
        await api.jobs.ListEvents(ListEventsRequest(page_size=20))
        await api.stats()
        if self._rng.random() < 0.1:
            export = ExportJobsRequest(format=ExportFormat.EXPORT_FORMAT_JSON_LINES, filter={"kinds": KINDS[:1]})
            async for _ in api.jobs.ExportJobs(export):
                pass

    def _check_owner(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            assert job.labels.get("mark", self.owner) == self.owner, f"{self.owner} was shown {job.job_id}"

    async def _watch(self) -> None:
        """Watch all jobs from a list on, leave without reading the rest, and check what was read."""
        api = self._api
        cursor = (await api.list_jobs(page_size=1)).cursor
        messages = []
        async with api.watch_jobs(cursor=cursor, mode=EVERY, filter=None) as watch:
            for _ in range(self._rng.randrange(20)):
                messages.append(await watch.change())  # noqa: PERF401  what came before an error stays
        self._check_owner([message.job for message in messages])
        assert_ordered(messages)
        known = {message.job.job_id: message.event.revision - 1 for message in reversed(messages)}
        assert_gapless(messages, known)

    async def _watch_one(self) -> None:
        """Watch a job to its end."""
        if not self._open:
            await asyncio.sleep(PAUSE_SECONDS)
            return
        with suppress(Ended):
            async with self._api.watch_job(self._rng.choice(self._open)) as watch:
                revision = 0
                while True:
                    message = await watch.change()
                    assert message.job.revision >= revision, f"revision {message.job.revision} after {revision}"
                    revision = message.job.revision
