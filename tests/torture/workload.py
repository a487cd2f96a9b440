"""Callers of one owner: seeded verbs of every sort, each repeated while its outcome is uncertain."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import cycle
from random import Random

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from jobledger.v1 import bulk_pb2 as bulk
from jobledger.v1 import job_service_pb2 as jobs
from jobledger.v1.export_pb2 import ExportFormat, ExportJobsRequest
from jobledger.v1.job_pb2 import FailurePolicy, JobView
from jobledger.v1.limit_service_pb2 import ListLimitsRequest, PauseKindRequest, ResumeKindRequest
from jobledger.v1.stats_pb2 import GetJobStatsRequest

from tests.torture.history import UNCERTAIN
from tests.torture.recorder import RecordedClient

KINDS = ("plain", "limited", "other")
PAUSED = "other"
"""The kind that is paused now and then."""
LIMITED, MAX_RUNNING = "limited", 2
QUOTA = 80
"""Unfinished jobs that an owner may have."""
SENTINEL = "sentinel"
"""The kind of the last job of each owner, which no worker claims."""
PAUSED_SECONDS = 1.5
UNIQUE_KEYS = 4
REPEATS = 4
PAUSE = 0.1
"""Seconds before a call is repeated."""


async def insist(
    client: RecordedClient, target: Callable[[], str], method: str, request: Message, repeats: int = REPEATS
) -> Message | None:
    """Make a call, and repeat it at any server while its outcome is uncertain; None when it failed all the same."""
    for _ in range(repeats):
        try:
            return await client.call(method, request)
        except grpc.aio.AioRpcError as error:
            if error.code().name not in UNCERTAIN:
                if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                    await asyncio.sleep(PAUSE)
                return None
        await asyncio.sleep(PAUSE)
        await client.move(target())
    return None


class Caller:
    """One caller: creates jobs and asks, changes and ends them."""

    def __init__(self, client: RecordedClient, rng: Random, target: Callable[[], str]) -> None:
        """`target` returns the address of any server."""
        self._client = client
        self._rng = rng
        self._target = target
        self._known: deque[str] = deque(maxlen=40)
        self._created: deque[jobs.CreateJobRequest] = deque(maxlen=20)
        self._tokens = [""]
        self._number = 0
        self._verbs: list[tuple[Callable[[], Awaitable[object]], int]] = [
            (self._create, 30), (self._create_again, 4), (self._create_batch, 4), (self._get, 16),
            (self._list, 5), (self._read_more, 6), (self._cancel, 5), (self._retry, 5), (self._update, 6),
            (self._delete, 3), (self._change_many, 2), (self._export, 1),
        ]  # fmt: skip

    async def run(self, goes_on: Callable[[], bool]) -> None:
        """Carry out one verb after another for as long as it goes on."""
        verbs, weights = zip(*self._verbs, strict=True)
        while goes_on():
            await self._rng.choices(verbs, weights)[0]()

    async def _ask(self, method: str, request: Message) -> Message | None:
        return await insist(self._client, self._target, method, request)

    def _job(self) -> str:
        return self._rng.choice(self._known) if self._known else "unknown"

    def _request(self) -> jobs.CreateJobRequest:
        """Return a creation of any sort; its display name says which request it is, in the ledger too."""
        rng, self._number = self._rng, self._number + 1
        name = f"{self._client.name}-{self._number}"
        request = jobs.CreateJobRequest(request_id=name, display_name=name, kind=rng.choice(KINDS))
        request.labels["n"] = str(rng.randrange(3))
        request.input["mark"] = self._client.owner
        request.priority = rng.randrange(3)
        request.retry_policy.max_attempts = rng.choice((1, 2, 3))
        request.retry_policy.initial_backoff.FromMilliseconds(100)
        if rng.random() < 0.3:
            request.failure_policy = FailurePolicy.FAILURE_POLICY_FAIL_FAST
        if rng.random() < 0.6:
            request.item_count, request.chunk_size = rng.randint(2, 9), 2
            if rng.random() < 0.4:
                request.finalizer.input["mark"] = self._client.owner
        if rng.random() < 0.15:
            request.unique_key = f"key-{rng.randrange(UNIQUE_KEYS)}"
        if rng.random() < 0.05:
            request.schedule_time.GetCurrentTime()
            request.schedule_time.seconds += 2
        if rng.random() < 0.05:
            request.run_timeout.CopyFrom(Duration(seconds=3))
        if rng.random() < 0.05:
            request.attempt_timeout.CopyFrom(Duration(seconds=2))
        return request

    async def _create(self) -> None:
        request = self._request()
        self._created.append(request)
        answer = await self._ask("CreateJob", request)
        if answer is not None:
            self._known.append(answer.job.job_id)

    async def _create_again(self) -> None:
        """Repeat a creation, as a caller does who has lost the answer."""
        if self._created:
            await self._ask("CreateJob", self._rng.choice(self._created))

    async def _create_batch(self) -> None:
        requests = [self._request() for _ in range(self._rng.randint(2, 5))]
        self._created.extend(requests)
        answer = await self._ask("BatchCreateJobs", jobs.BatchCreateJobsRequest(requests=requests))
        if answer is not None:
            self._known.extend(result.job.job_id for result in answer.results if result.job.job_id)

    async def _get(self) -> None:
        await self._ask("GetJob", jobs.GetJobRequest(job_id=self._job(), view=JobView.JOB_VIEW_BASIC))

    async def _list(self) -> None:
        request = jobs.ListJobsRequest(page_size=20, page_token=self._rng.choice(self._tokens))
        if (answer := await self._ask("ListJobs", request)) is not None:
            self._tokens = ["", answer.next_page_token]

    async def _read_more(self) -> None:
        job = self._job()
        requests: dict[str, Message] = {
            "BatchGetJobs": jobs.BatchGetJobsRequest(job_ids={job, self._job()}),
            "ListChunks": jobs.ListChunksRequest(job_id=job),
            "ListAttempts": jobs.ListAttemptsRequest(job_id=job),
            "ListEvents": self._rng.choice((jobs.ListEventsRequest(job_id=job), jobs.ListEventsRequest(page_size=50))),
            "GetJobStats": GetJobStatsRequest(),
            "ListLimits": ListLimitsRequest(),
        }
        await self._ask(*self._rng.choice(sorted(requests.items())))

    async def _cancel(self) -> None:
        grace = Duration(seconds=1)
        force = self._rng.random() < 0.3
        await self._ask("CancelJob", jobs.CancelJobRequest(job_id=self._job(), force=force, grace_period=grace))

    async def _retry(self) -> None:
        self._number += 1
        request_id = f"{self._client.name}-retry-{self._number}"
        await self._ask("RetryJob", jobs.RetryJobRequest(job_id=self._job(), request_id=request_id))

    async def _update(self) -> None:
        request = jobs.UpdateJobRequest(job_id=self._job(), priority=self._rng.randrange(5))
        request.update_mask.CopyFrom(FieldMask(paths=["priority"]))
        await self._ask("UpdateJob", request)

    async def _delete(self) -> None:
        await self._ask("DeleteJob", jobs.DeleteJobRequest(job_id=self._job(), force=self._rng.random() < 0.3))

    async def _change_many(self) -> None:
        self._number += 1
        fields = {"job_ids": {self._job(), self._job()}, "request_id": f"{self._client.name}-bulk-{self._number}"}
        changes: dict[str, Message] = {
            "CancelJobs": bulk.CancelJobsRequest(**fields),
            "RetryJobs": bulk.RetryJobsRequest(**fields),
            "DeleteJobs": bulk.DeleteJobsRequest(**fields),
            "UpdateJobs": bulk.UpdateJobsRequest(
                **fields, priority=self._rng.randrange(5), update_mask=FieldMask(paths=["priority"])
            ),
        }
        await self._ask(*self._rng.choice(sorted(changes.items())))

    async def _export(self) -> None:
        request = ExportJobsRequest(format=ExportFormat.EXPORT_FORMAT_JSON_LINES)
        try:
            async for _ in self._client.stream("ExportJobs", request, timeout=10):
                pass
        except grpc.aio.AioRpcError:
            await self._client.move(self._target())


async def pause_kinds(
    client: RecordedClient, target: Callable[[], str], owners: Sequence[str], goes_on: Callable[[], bool]
) -> None:
    """Pause a kind of one owner after the other, as an admin, for a while each."""
    for owner in cycle(owners):
        if not goes_on():
            return
        await insist(client, target, "PauseKind", PauseKindRequest(kind=PAUSED, owner=owner))
        await asyncio.sleep(PAUSED_SECONDS)
        await insist(client, target, "ResumeKind", ResumeKindRequest(kind=PAUSED, owner=owner), repeats=300)
        await asyncio.sleep(PAUSED_SECONDS)
