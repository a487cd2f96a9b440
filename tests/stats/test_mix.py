"""Many callers and workers do anything to jobs at all replicas: the counts and the sums are what the ledger says."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from jobledger.v1.event_pb2 import Change, ChangeType
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import WatchJobsResponse, WatchMode
from jobledger.v1.stats_pb2 import GetJobStatsRequest, JobActivity, JobCounts
from jobledger.v1.worker_service_pb2 import ChunkCompletion, CompleteChunksRequest, HeartbeatRequest, LeaseReport
from sqlalchemy import NullPool, create_engine, text

from tests.support.api import Api, fresh_kind
from tests.support.server import Server
from tests.support.states import CANCELLED, CANCELLING, COMPLETED, FAILED, QUEUED, RUNNING
from tests.support.watching import DELETED

pytestmark = pytest.mark.long  # random lives of jobs

Connect = Callable[[Server], Api]
TASKS, STEPS = 12, 40
STATES = {
    QUEUED: "queued", RUNNING: "running", CANCELLING: "cancelling",
    COMPLETED: "completed", FAILED: "failed", CANCELLED: "cancelled",
}  # fmt: skip
ENDS = {COMPLETED: "completed", FAILED: "failed", CANCELLED: "cancelled"}


class Caller:
    """Somebody who does this and that to jobs of some kinds, each time at any replica."""

    def __init__(self, apis: list[Api], kinds: list[str], jobs: list[Job], rng: random.Random) -> None:
        self.apis, self.kinds, self.jobs, self.rng = apis, kinds, jobs, rng

    @property
    def api(self) -> Api:
        return self.rng.choice(self.apis)

    async def step(self) -> None:
        doings = [self.create, self.work, self.work, self.work, self.cancel, self.retry, self.update, self.delete]
        try:
            await self.rng.choice(doings)()
        except grpc.aio.AioRpcError as error:
            # What another caller has just made impossible; a defect or a lost conflict would be something else.
            if error.code() not in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION):
                raise

    async def create(self) -> None:
        sizes = [{}, {"item_count": 10, "chunk_size": 4}, {"item_count": 3, "chunk_size": 1}]
        size = self.rng.choice([*sizes, {"item_count": 2, "chunk_size": 1, "finalizer": {}}])
        policy = {"max_attempts": self.rng.choice([1, 2]), "initial_backoff": timedelta(milliseconds=1)}
        fast = self.rng.choice([1, 2])
        fields = {**size, "retry_policy": policy, "failure_policy": fast}
        self.jobs.append(await self.api.create(self.rng.choice(self.kinds), **fields))

    async def work(self) -> None:
        seconds = self.rng.choice([1, 60, 60, 60])
        lease = timedelta(seconds=seconds)
        claimed = await self.api.claim(self.rng.choice(self.kinds), self.rng.randint(1, 4), lease_duration=lease)
        for chunk in claimed:
            token = chunk.lease.token
            made = {f"a{self.rng.randint(0, 2)}": {"uri": "s3://b/x", "size_bytes": self.rng.randint(0, 10**6)}}
            report = LeaseReport(
                lease_token=token, progress={"artifacts": made, "job_artifacts": self.rng.choice([made, {}])}
            )
            await self.api.work.Heartbeat(HeartbeatRequest(reports=[report], lease_duration=lease))
            doings = ["complete", "complete", "fail", "give up", "release", "forget"]
            match self.rng.choice(doings if seconds == 1 else doings[:-1]):
                case "complete":
                    completion = ChunkCompletion(lease_token=token, progress={"artifacts": made})
                    await self.api.work.CompleteChunks(CompleteChunksRequest(completions=[completion]))
                case "fail":
                    await self.api.fail(chunk, code=self.rng.choice(["BOOM", "SLOW"]))
                case "give up":
                    await self.api.fail(chunk, not_retryable=True)
                case "release":
                    await self.api.release(chunk)

    async def cancel(self) -> None:
        if self.jobs:
            grace = timedelta(milliseconds=self.rng.choice([0, 200]))
            await self.api.cancel(self.one(), force=self.rng.random() < 0.3, grace_period=grace)

    async def retry(self) -> None:
        if self.jobs:
            await self.api.retry(self.one())

    async def update(self) -> None:
        if self.jobs:
            expire = datetime.now(UTC) + timedelta(milliseconds=self.rng.choice([100, 10**9]))
            new = {"priority": self.rng.randint(0, 10), "expire_time": expire}
            mask = {"paths": self.rng.choice([["expire_time"], ["priority"]])}
            await self.api.update(self.one(), update_mask=mask, **new)

    async def delete(self) -> None:
        if self.jobs:
            force = self.rng.random() < 0.5
            await self.api.delete(self.one(), force=force)

    def one(self) -> str:
        return self.rng.choice(self.jobs).job_id


@dataclass
class Model:
    """What the ledger's entries say of one kind, told one by one."""

    jobs: dict[str, Job] = field(default_factory=dict)
    queued: dict[str, int] = field(default_factory=dict)
    started: dict[str, int | None] = field(default_factory=dict)
    artifacts: dict[tuple[str, int], dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    leases: dict[tuple[str, int], int] = field(default_factory=dict)
    claimed: dict[tuple[str, int], int] = field(default_factory=dict)
    """When the latest attempt at each chunk began."""
    attempts: Counter[tuple[str, int]] = field(default_factory=Counter)
    """How many attempts at each chunk there were, less those that were released."""
    deleted: set[str] = field(default_factory=set)
    seen: Counter[str] = field(default_factory=Counter)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    """The failed runs by the code and the stage of their error."""
    unnamed: int = 0
    """The failed runs that another one followed in the same commit: the ledger does not name their errors."""

    def hear(self, message: WatchJobsResponse) -> None:
        assert not message.chunk_ranges
        name, now = message.job.job_id, message.job.update_time.ToMicroseconds()
        sized = [chunk for chunk in message.chunks if chunk.HasField("last_item")]
        items = {chunk.index: chunk.last_item - chunk.first_item + 1 for chunk in sized}
        for change in message.event.changes:
            self.count(change.type, items.get(change.chunk_index, 0))
            if change.HasField("chunk_index"):
                self.attempt(change, (name, change.chunk_index), now)
            if change.from_state != change.to_state:
                self.move(name, change.to_state, now)
        if failed := sum(change.from_state != change.to_state == FAILED for change in message.event.changes):
            named = message.job.state == FAILED
            self.failures[message.job.error.code, message.job.error.stage] += named
            self.unnamed += failed - named
        self.compare((name, -1), message.job.artifacts)
        for chunk in message.chunks:
            self.compare((name, chunk.index), chunk.artifacts)
            self.leases[name, chunk.index] = chunk.lease_expire_time.ToMicroseconds()
        self.jobs[name] = message.job
        if message.type == DELETED:
            del self.jobs[name]
            self.deleted.add(name)
            self.leases = {key: time for key, time in self.leases.items() if key[0] != name}

    def count(self, type_: ChangeType, items: int) -> None:
        match type_:
            case ChangeType.CHANGE_TYPE_CREATED:
                self.seen["created"] += 1
            case ChangeType.CHANGE_TYPE_RETRIED:
                self.seen["job_retries"] += 1
            case (
                ChangeType.CHANGE_TYPE_CHUNK_FAILED
                | ChangeType.CHANGE_TYPE_LEASE_EXPIRED
                | ChangeType.CHANGE_TYPE_ATTEMPT_TIMED_OUT
            ):
                self.seen["failed_attempts"] += 1
            case ChangeType.CHANGE_TYPE_CHUNK_COMPLETED:
                self.seen["chunks_completed"] += 1
                self.seen["items_completed"] += items

    def attempt(self, change: Change, chunk: tuple[str, int], now: int) -> None:
        match change.type:
            case ChangeType.CHANGE_TYPE_CLAIMED:
                self.attempts[chunk] += 1
                self.claimed[chunk] = now
                return
            case ChangeType.CHANGE_TYPE_CHUNK_RELEASED:
                self.attempts[chunk] -= change.from_state != CANCELLING  # there it is the end of the chunk
                return
            case ChangeType.CHANGE_TYPE_PROGRESSED:
                return
            case ChangeType.CHANGE_TYPE_CHUNK_COMPLETED:
                self.seen["chunks_processing"] += now - self.claimed[chunk]
            case ChangeType.CHANGE_TYPE_LEASE_EXPIRED:
                self.seen["expired"] += 1
        self.seen["attempts"] += 1
        self.seen["retried"] += self.attempts[chunk] > 1

    def move(self, name: str, state: int, now: int) -> None:
        if state == QUEUED:
            self.queued[name], self.started[name] = now, None
        elif state == RUNNING:
            self.seen["started"] += 1
            self.seen["waited"] += now - self.queued[name]
            self.started[name] = now
        elif state in ENDS:
            self.seen[ENDS[state]] += 1
            if (since := self.started[name]) is not None:
                self.seen["processed"] += 1
                self.seen["processing"] += now - since

    def compare(self, key: tuple[str, int], artifacts: object) -> None:
        new = {name: one.size_bytes for name, one in artifacts.items()}
        self.seen["artifact_count"] += len(new) - len(self.artifacts[key])
        self.seen["artifact_bytes"] += sum(new.values()) - sum(self.artifacts[key].values())
        self.artifacts[key] = new

    @property
    def quiet(self) -> bool:
        """Whether nothing more will happen by itself in the next seconds."""
        soon = (datetime.now(UTC) + timedelta(seconds=20)).timestamp() * 1e6
        leased = any(0 < time < soon for time in self.leases.values())
        going = any(one.state == CANCELLING for one in self.jobs.values())
        expiring = any(0 < one.expire_time.ToMicroseconds() < soon and one.state in ENDS for one in self.jobs.values())
        return not (leased or going or expiring)

    def now(self) -> JobCounts:
        counts = JobCounts()
        for job in self.jobs.values():
            setattr(counts, STATES[job.state], getattr(counts, STATES[job.state]) + 1)
            counts.chunks_pending += job.chunks_summary.pending
            counts.chunks_processing += job.chunks_summary.processing
        stored = [sizes for (name, _), sizes in self.artifacts.items() if name not in self.deleted]
        counts.artifact_bytes = sum(sum(sizes.values()) for sizes in stored)
        return counts


def told(activity: JobActivity) -> Counter[str]:
    """Return an activity in the words of the model."""
    names = (
        "created", "started", "completed", "failed", "cancelled", "chunks_completed", "items_completed",
        "artifact_count", "artifact_bytes", "job_retries", "failed_attempts",
    )  # fmt: skip
    found = Counter({name: getattr(activity, name) for name in names})
    found["waited"] = round(activity.waiting.total_seconds * 1e6)
    found["processed"] = activity.processing.count
    found["processing"] = round(activity.processing.total_seconds * 1e6)
    assert activity.waiting.count == activity.started
    chunks = activity.chunks
    found |= Counter(attempts=chunks.ended, expired=chunks.expired, retried=chunks.retried)
    found["chunks_processing"] = round(chunks.processing.total_seconds * 1e6)
    assert chunks.processing.count == activity.chunks_completed
    return found


def counted(server: Server, kind: str) -> tuple[list[tuple], list[tuple]]:
    """Return the counts of a kind as they are kept, and as its jobs are."""
    columns = "state, jobs, chunks_pending, chunks_processing, artifact_bytes"
    kept = f"SELECT {columns} FROM counts WHERE kind = :kind AND jobs <> 0"  # noqa: S608
    chunks = "sum(chunks_pending), sum(chunks_processing)"
    made = f"SELECT state, count(*), {chunks}, sum(artifact_bytes) FROM jobs WHERE kind = :kind"  # noqa: S608
    with create_engine(server.database, poolclass=NullPool).begin() as connection:
        rows = [
            sorted(tuple(row) for row in connection.execute(text(statement), {"kind": kind}))
            for statement in (f"{kept} AND owner <> ''", f"{made} GROUP BY state")
        ]
    return rows[0], rows[1]


@pytest.mark.guarantee("3e.6")
async def test_counts_and_sums_are_what_the_ledger_reports(replicas: list[Server], connect: Connect):
    apis, kinds = [connect(server) for server in replicas], [fresh_kind(), fresh_kind()]
    before = (await apis[0].list_jobs(filter={"kinds": kinds})).cursor
    jobs: list[Job] = []
    callers = [Caller(apis, kinds, jobs, random.Random(n)) for n in range(TASKS)]

    async def act(caller: Caller) -> None:
        for _ in range(STEPS):
            await caller.step()

    await asyncio.gather(*map(act, callers))
    last = await apis[0].create(kinds[0])

    models = {kind: Model() for kind in kinds}
    received = False
    async with apis[-1].watch_jobs(*kinds, cursor=before, mode=WatchMode.WATCH_MODE_EVERY) as watch:
        while not (received and all(model.quiet for model in models.values())):
            message = await watch.message()
            if message.HasField("job"):
                models[message.job.kind].hear(message)
                received = received or message.job.job_id == last.job_id

    assert all(sum(model.seen[name] for model in models.values()) for name in told(JobActivity()))
    hours = {"start_time": datetime.now(UTC) - timedelta(hours=1)}
    for api in apis:
        stats = await api.stats(kinds=kinds, time_range=hours)
        assert {one.kind for one in stats.kinds} == set(kinds)
        assert sum(one.count for one in stats.total.failures) == stats.total.activity.failed
        for one in stats.kinds:
            of_kind = GetJobStatsRequest(kinds=[one.kind], time_range=hours)
            groups = (await api.jobs.GetJobStats(of_kind)).total.failures
            failed = Counter({(group.error_code, group.stage): group.count for group in groups})
            assert failed >= models[one.kind].failures
            assert (failed - models[one.kind].failures).total() == models[one.kind].unnamed
            assert {group.example_job_id for group in groups} - {""} <= models[one.kind].jobs.keys()
            assert told(one.stats.activity) == models[one.kind].seen
            shown = JobCounts()
            shown.CopyFrom(one.stats.now)
            shown.ClearField("oldest_queued_time")
            shown.ClearField("oldest_queued_age")
            shown.ClearField("chunks_held")  # backoffs end by themselves
            assert shown == models[one.kind].now()
            waiting = [job.create_time for job in models[one.kind].jobs.values() if job.state == QUEUED]
            if waiting:
                assert one.stats.now.oldest_queued_time == min(waiting, key=lambda time: time.ToMicroseconds())
    for kind in kinds:
        kept, made = counted(replicas[0], kind)
        assert kept == made
