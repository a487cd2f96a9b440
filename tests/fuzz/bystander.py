"""An owner who does ordinary work beside the hostile ones, and checks each of his own results."""

import csv
import io
import json
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any

import grpc
from google.protobuf.message import Message
from jobledger.v1.event_pb2 import ChangeType
from jobledger.v1.export_pb2 import ExportFormat, ExportJobsRequest
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import CancelOutcome, EventOrder, ListEventsRequest, UpdateJobRequest, WatchMode
from jobledger.v1.webhook_service_pb2 import CreateWebhookRequest
from jobledger.v1.webhook_service_pb2_grpc import WebhookServiceStub

from tests.fuzz.memory import Value
from tests.fuzz.values import KINDS
from tests.support.bounds import BOUND
from tests.support.keys import KeyedApi
from tests.support.lives import assert_gapless, assert_ordered
from tests.support.receiver import Receiver
from tests.support.states import CANCELLED, COMPLETED, FAILED, OK, QUEUED, RUNNING, chunk_states, summary
from tests.support.watching import Watch

EVERY = WatchMode.WATCH_MODE_EVERY
ITEMS, CHUNKS = 10, 5
HOUR = {"seconds": 3_600}


class _Reading(grpc.aio.UnaryUnaryClientInterceptor):
    """Looks through every answer for what is not his."""

    def __init__(self, check: Callable[[Message], None]) -> None:
        self._check = check

    async def intercept_unary_unary(
        self, continuation: Callable[..., Awaitable[Any]], details: Any, request: Any
    ) -> Any:
        call = await continuation(details._replace(timeout=BOUND), request)
        self._check(await call)
        return call


class Bystander:
    """Works in rounds, each a few jobs from creation to their end; what he was handed out is there to be stolen."""

    def __init__(
        self, server: str, token: str, rng: Random, mark: str, secrets: Sequence[bytes], receiver: Receiver
    ) -> None:
        self.rounds = 0
        self.stolen: dict[str, deque[Value]] = {}
        self._rng = rng
        self._mark = mark
        self._secrets = secrets
        self._receiver = receiver
        self._api = KeyedApi(server, token, _Reading(self._check))
        self._steps = (self._complete_one, self._fail_and_retry, self._cancel, self._update, self._list_and_export)

    async def close(self) -> None:
        """Close the connection."""
        await self._api.channel.close()

    async def subscribe(self) -> None:
        """Make a webhook."""
        request = CreateWebhookRequest(url=self._receiver.url, description=self._mark)
        made = await WebhookServiceStub(self._api.channel).CreateWebhook(request)
        self._hand_out(webhook_id=made.webhook.webhook_id)

    async def work(self) -> None:
        """Do one round; raises what went wrong."""
        for step in self._rng.sample(self._steps, len(self._steps)):
            await step()
        self.rounds += 1

    def _check(self, answer: Message) -> None:
        self._check_bytes(answer.SerializeToString())

    def _check_bytes(self, raw: bytes) -> None:
        assert not any(secret in raw for secret in self._secrets), f"another owner's data: {raw[:300]!r}"

    def _hand_out(self, **handles: Value) -> None:
        for name, value in handles.items():
            self.stolen.setdefault(name, deque(maxlen=30)).append(value)

    async def _create(self, **fields: object) -> Job:
        kind = self._rng.choice(KINDS)
        job = await self._api.create(
            kind,
            display_name=f"{self._mark} part",
            labels={"team": "media", "mark": self._mark, "round": str(self.rounds)},
            input={"mark": self._mark, "n": 0.5},
            item_count=ITEMS,
            chunk_size=ITEMS // CHUNKS,
            **fields,
        )
        assert (job.state, job.owner, summary(job)) == (QUEUED, "bystander", {"total": CHUNKS, "pending": CHUNKS})
        self._hand_out(job_id=job.job_id, etag=job.etag)
        return job

    async def _claim(self, job: Job, count: int = CHUNKS) -> list[Any]:
        """Claim chunks of the only job of a kind that has some: exactly its own are given out, in order."""
        claimed = await self._api.claim(job.kind, 1_000, worker=self._mark, lease_duration=HOUR)
        assert [(one.job_id, one.chunk.index) for one in claimed] == [(job.job_id, n) for n in range(count)]
        assert {one.job_input["mark"] for one in claimed} == {self._mark}
        for one in claimed:
            self._hand_out(lease_token=one.lease.token)
        return claimed

    async def _complete_one(self) -> None:
        """Bring a job to its end, and watch it."""
        job = await self._create(stages=[{"name": "fetch"}, {"name": "work", "weight": 3}])
        async with self._api.watch_job(job.job_id, mode=EVERY) as watch:
            first = await watch.message()
            assert (first.job.job_id, first.job.revision) == (job.job_id, 1)
            self._hand_out(cursor=first.cursor)
            claimed = await self._claim(job)
            for one in claimed:
                result = await self._api.report(
                    one, stage="work", stage_percent=50, message=self._mark, items_completed=1
                )
                assert result.status == OK
            shown = await self._api.get(job.job_id)
            assert (shown.state, shown.progress.percent, shown.progress.message) == (RUNNING, 62.5, self._mark)
            artifacts = {self._mark: {"uri": f"s3://bucket/{self._mark}", "size_bytes": 5}}
            result = await self._api.complete(
                *claimed, progress={"artifacts": artifacts}, result_uri="s3://bucket/result"
            )
            assert [one.status for one in result] == [OK] * CHUNKS
            await self._follow(watch, first, COMPLETED)
        ended = await self._api.get(job.job_id)
        assert (ended.state, ended.progress.percent, ended.result_uri) == (COMPLETED, 100, "s3://bucket/result")
        assert [list(chunk.artifacts) for chunk in ended.chunks] == [[self._mark]] * CHUNKS
        await self._delivered(job)

    async def _follow(self, watch: Watch[Any], first: Any, end: int) -> None:
        messages = [first, *await watch.rest()]
        assert_gapless(messages)
        assert_ordered(messages)
        assert messages[-1].job.state == end
        for message in messages:
            self._check(message)

    async def _delivered(self, job: Job) -> None:
        """Wait until the webhook was told of the end of a job."""
        came = await self._receiver.until(
            lambda one: one.body.get("data", {}).get("jobId") == job.job_id and "completed" in one.type.lower()
        )
        for one in came:
            self._check_bytes(one.raw)

    async def _fail_and_retry(self) -> None:
        job = await self._create(retry_policy={"max_attempts": 2, "initial_backoff": {}, "jitter": 0})
        claimed = await self._claim(job)
        assert [one.status for one in await self._api.fail(claimed[0], code="BOOM")] == [OK]
        assert [one.status for one in await self._api.release(claimed[1], reason=self._mark)] == [OK]
        again = await self._claim(job, 2)
        assert [one.chunk.attempt for one in again] == [2, 1]
        await self._api.fail(again[0], code="BOOM")
        await self._api.complete(again[1], *claimed[2:])
        failed = await self._api.get(job.job_id)
        assert (failed.state, failed.error.code, summary(failed)) == (
            FAILED,
            "BOOM",
            {"total": CHUNKS, "completed": CHUNKS - 1, "failed": 1},
        )
        retried = await self._api.retry(job.job_id, reason=self._mark)
        assert (retried.state, retried.retry_count) == (QUEUED, 1)
        await self._api.complete(*await self._claim(job, 1))
        assert (await self._api.get(job.job_id)).state == COMPLETED
        await self._assert_trail(job)

    async def _assert_trail(self, job: Job) -> None:
        request = ListEventsRequest(job_id=job.job_id, page_size=500, order=EventOrder.EVENT_ORDER_POSITION_ASC)
        events = (await self._api.jobs.ListEvents(request)).events
        assert [event.revision for event in events] == list(range(1, len(events) + 1))
        assert {event.owner for event in events} == {"bystander"}
        types = [change.type for event in events for change in event.changes]
        assert types[0] == ChangeType.CHANGE_TYPE_CREATED
        assert types.count(ChangeType.CHANGE_TYPE_CHUNK_COMPLETED) == CHUNKS
        assert types.count(ChangeType.CHANGE_TYPE_CHUNK_FAILED) == 2

    async def _cancel(self) -> None:
        job = await self._create()
        claimed = (await self._claim(job))[0]
        result = await self._api.cancel(job.job_id, reason=self._mark, grace_period=HOUR)
        assert result.outcome == CancelOutcome.CANCEL_OUTCOME_REQUESTED
        assert (await self._api.report(claimed, percent=5)).status != OK
        result = await self._api.cancel(job.job_id, force=True)
        assert (result.outcome, result.job.state) == (CancelOutcome.CANCEL_OUTCOME_CANCELLED, CANCELLED)
        assert result.job.cancel_reason == self._mark
        await self._api.delete(job.job_id)
        found = await self._api.batch_get(job_ids=[job.job_id])
        assert (list(found.jobs), list(found.missing_job_ids)) == ([], [job.job_id])

    async def _update(self) -> None:
        job = await self._create()
        mask = {"paths": ["priority", "labels"]}
        request = UpdateJobRequest(
            job_id=job.job_id, update_mask=mask, priority=9, labels={"mark": self._mark}, etag=job.etag
        )
        assert (await self._api.jobs.UpdateJob(request)).job.revision == 2
        await self._api.complete(*await self._claim(job))
        shown = await self._api.get(job.job_id)
        assert (shown.state, shown.priority, dict(shown.labels)) == (COMPLETED, 9, {"mark": self._mark})
        pages = await self._chunks(job.job_id)
        assert [chunk.index for chunk in pages] == list(range(CHUNKS))
        assert chunk_states(shown) == [chunk.state for chunk in pages]

    async def _chunks(self, job_id: str) -> list[Any]:
        chunks, token = [], ""
        while True:
            page = await self._api.list_chunks(job_id, page_size=2, page_token=token)
            chunks += page.chunks
            if not (token := page.next_page_token):
                return chunks
            self._hand_out(page_token=token)

    async def _list_and_export(self) -> None:
        """Find the jobs of this round in lists and exports, each once, and nobody else's."""
        label = str(self._rng.getrandbits(60))
        made = {(await self._create()).job_id for _ in range(3)}
        for job_id in made:
            request = UpdateJobRequest(job_id=job_id, update_mask={"paths": ["labels"]}, labels={"list": label})
            await self._api.jobs.UpdateJob(request)
            await self._api.cancel(job_id)
        wanted = {"labels": {"list": label}, "states": [CANCELLED], "search": "part"}
        listed, token = [], ""
        while True:
            page = await self._api.list_jobs(filter=wanted, page_size=2, page_token=token)
            listed += [job.job_id for job in page.jobs]
            self._hand_out(cursor=page.cursor)
            if not (token := page.next_page_token):
                break
            self._hand_out(page_token=token)
        assert sorted(listed) == sorted(made)
        await self._assert_exported(wanted, made)

    async def _assert_exported(self, wanted: dict[str, Any], made: set[str]) -> None:
        for form in (ExportFormat.EXPORT_FORMAT_CSV, ExportFormat.EXPORT_FORMAT_JSON_LINES):
            call = self._api.jobs.ExportJobs(ExportJobsRequest(filter=wanted, format=form), timeout=BOUND)
            raw = b""
            async for message in call:
                raw += message.data
                self._hand_out(resume_token=message.resume_token)
            self._check_bytes(raw)
            text = raw.decode()
            if form == ExportFormat.EXPORT_FORMAT_CSV:
                rows = list(csv.DictReader(io.StringIO(text)))
            else:
                rows = [json.loads(line) for line in text.splitlines()]
            assert {row["job_id"] for row in rows} == made, text[:500]
            assert len(rows) == len(made)
