"""Attacks by what is written and claimed."""

import asyncio
import itertools
import random
import time
from collections.abc import Sequence
from typing import Final

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct
from jobledger.v1 import job_service_pb2 as jobs_api
from jobledger.v1 import webhook_service_pb2 as webhooks_api
from jobledger.v1 import worker_service_pb2 as work_api
from jobledger.v1.chunk_pb2 import ChunkSpec
from jobledger.v1.webhook_pb2 import WEBHOOK_EVENT_TYPE_JOB_COMPLETED, WEBHOOK_STATE_DISABLED

from .attacks import Attack, Score, at_once, over_and_over
from .jobs import JOBS, LEASE, WORK
from .owner import Owner

WEBHOOKS: Final = "/jobledger.v1.WebhookService"
LARGE_CHUNKS: Final = 10_000
LARGE_JOBS: Final = 12
KINDS: Final = 60


class ForgedTokens(Attack):
    """Thirty-two heartbeats and completions at a time with lease tokens that are none."""

    async def go(self, owners: Sequence[Owner], until: float, score: Score) -> None:
        """Send them over and over."""
        forged = ("owner/x\0", f"x/{2**31}/1/x", "[[[[", "bystander/1/0/1", "x" * 512)
        requests: list[tuple[str, bytes]] = []
        for token in forged:
            reports, done = [work_api.LeaseReport(lease_token=token)], [work_api.ChunkCompletion(lease_token=token)]
            beat = work_api.HeartbeatRequest(reports=reports, lease_duration=LEASE)
            complete = work_api.CompleteChunksRequest(completions=done)
            requests.append((f"{WORK}/Heartbeat", beat.SerializeToString()))
            requests.append((f"{WORK}/CompleteChunks", complete.SerializeToString()))
        turns = itertools.cycle(requests)

        async def send(slot: int) -> None:
            path, request = next(turns)
            await score.count(owners[slot % len(owners)].send(path, request, slot))

        await over_and_over(32, until, send)


class LargeCancellations(Attack):
    """Cancels and retries twelve jobs of 10,000 chunks, all at once, over and over."""

    def __init__(self) -> None:
        self._jobs: list[str] = []

    async def prepare(self, owners: Sequence[Owner]) -> None:
        """Create the jobs."""
        request = jobs_api.CreateJobRequest(kind="cancelled", item_count=LARGE_CHUNKS, chunk_size=1)

        async def create(_: int) -> None:
            self._jobs.append(await owners[0].create(request))

        await at_once(1, LARGE_JOBS, create)

    async def go(self, owners: Sequence[Owner], until: float, score: Score) -> None:
        """Cancel, then retry."""

        async def turn(slot: int) -> None:
            job_id = self._jobs[slot]
            cancel = jobs_api.CancelJobRequest(job_id=job_id, force=True).SerializeToString()
            retry = jobs_api.RetryJobRequest(job_id=job_id).SerializeToString()
            if await score.count(owners[0].send(f"{JOBS}/CancelJob", cancel, slot)):
                await score.count(owners[0].send(f"{JOBS}/RetryJob", retry, slot))

        await over_and_over(LARGE_JOBS, until, turn)


class LargeCreations(Attack):
    """Creates jobs of 10,000 chunks, eight at a time."""

    async def go(self, owners: Sequence[Owner], until: float, score: Score) -> None:
        """Create one after the other."""
        request = jobs_api.CreateJobRequest(kind="large", item_count=LARGE_CHUNKS, chunk_size=1).SerializeToString()

        async def create(slot: int) -> None:
            await score.count(owners[0].send(f"{JOBS}/CreateJob", request, slot))

        await over_and_over(8, until, create)


class Flood(Attack):
    """Creates jobs of 100 chunks at four times the rate that the server can do, which is measured before."""

    def __init__(self) -> None:
        self.request = jobs_api.CreateJobRequest(kind="flood", item_count=100, chunk_size=1).SerializeToString()
        self.rate = 0.0

    async def prepare(self, owners: Sequence[Owner]) -> None:
        """Measure for two seconds with sixty-four calls in flight."""
        score, seconds = Score(), 2.0
        await over_and_over(64, time.perf_counter() + seconds, lambda slot: self._create(owners, slot, score))
        self.rate = 4 * score.codes["OK"] / seconds

    async def go(self, owners: Sequence[Owner], until: float, score: Score) -> None:
        """Send calls by the clock, whatever becomes of those before."""
        calls: set[asyncio.Task[bool]] = set()
        began, sent = time.perf_counter(), 0
        while (now := time.perf_counter()) < until:
            for number in range(sent, round((now - began) * self.rate)):
                calls.add(asyncio.create_task(self._create(owners, number, score)))
                sent = number + 1
            calls = {call for call in calls if not call.done()}
            await asyncio.sleep(0.01)
        await asyncio.gather(*calls)

    async def _create(self, owners: Sequence[Owner], slot: int, score: Score) -> bool:
        return await score.count(owners[0].send(f"{JOBS}/CreateJob", self.request, slot))


class WebhookUpdates(Attack):
    """Sixty-four updates of one webhook at a time."""

    webhook_id = ""

    async def prepare(self, owners: Sequence[Owner]) -> None:
        """Create the webhook."""
        request = webhooks_api.CreateWebhookRequest(
            url="https://hooks.example.com/jobs",
            event_types=[WEBHOOK_EVENT_TYPE_JOB_COMPLETED],
            kinds=["nothing"],
            state=WEBHOOK_STATE_DISABLED,
        )
        made = await owners[0].call(f"{WEBHOOKS}/CreateWebhook", request, webhooks_api.CreateWebhookResponse)
        self.webhook_id = made.webhook.webhook_id

    async def go(self, owners: Sequence[Owner], until: float, score: Score) -> None:
        """Update it over and over."""
        numbers = itertools.count()

        async def update(slot: int) -> None:
            request = webhooks_api.UpdateWebhookRequest(
                webhook_id=self.webhook_id,
                update_mask=FieldMask(paths=["description"]),
                description=f"number {next(numbers)}",
            ).SerializeToString()
            await score.count(owners[0].send(f"{WEBHOOKS}/UpdateWebhook", request, slot))

        await over_and_over(64, until, update)


class ManyKinds(Attack):
    """Sixty claims of fifty chunks at a time on sixty kinds, which are released again."""

    kind = "kind"

    async def prepare(self, owners: Sequence[Owner]) -> None:
        """Have chunks of each kind."""
        requests = [
            jobs_api.CreateJobRequest(kind=f"{self.kind}-{number}", item_count=100, chunk_size=1)
            for number in range(KINDS)
        ]
        await at_once(8, KINDS, lambda number: owners[0].create(requests[number]))

    async def go(self, owners: Sequence[Owner], until: float, score: Score) -> None:
        """Claim, then release."""

        async def turn(slot: int) -> None:
            await score.count(self._claim(owners[slot % len(owners)], slot))

        await over_and_over(KINDS, until, turn)

    async def _claim(self, owner: Owner, slot: int) -> None:
        leases = await owner.claim(f"{self.kind}-{slot}", 50)
        releases = work_api.ReleaseChunksRequest(
            releases=[work_api.ChunkRelease(lease_token=token) for token in leases]
        )
        await owner.call(f"{WORK}/ReleaseChunks", releases, work_api.ReleaseChunksResponse, slot)


class CancelledClaims(ManyKinds):
    """Sixty claims of fifty chunks at a time on sixty kinds, whose callers leave within 20 ms."""

    kind = "left"

    async def _claim(self, owner: Owner, slot: int) -> None:
        async with asyncio.timeout(0.001 * (1 + slot % 20)):
            await super()._claim(owner, slot)


class LargeRequests(Attack):
    """CreateJob with 1.9 MiB of input, 500 at once, over and over."""

    kind = "wide-input"

    def __init__(self) -> None:
        self.request = jobs_api.CreateJobRequest(
            kind=self.kind, chunks=[ChunkSpec(input=self.input(), item_count=1) for _ in range(32)]
        ).SerializeToString()

    def input(self) -> Struct:
        """Return the input of a chunk: one text."""
        made = Struct()
        made.update({"text": "x" * 62_000})
        return made

    async def go(self, owners: Sequence[Owner], until: float, score: Score) -> None:
        """Send them."""

        async def send(slot: int) -> None:
            await score.count(owners[0].send(f"{JOBS}/CreateJob", self.request, slot))

        await over_and_over(500, until, send)


class LargeNumbers(LargeRequests):
    """The same with inputs of random numbers, each of which the server has to look at."""

    kind = "many-numbers"

    def input(self) -> Struct:
        """Return the input of a chunk: as many numbers as it may have bytes for."""
        made = Struct()
        made.update({"numbers": [random.uniform(-1e9, 1e9) for _ in range(5_600)]})  # noqa: S311  any numbers
        return made
