"""What time brings about is done once, though every replica looks after it and none of them leads."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from jobledger.v1.event_pb2 import ChangeType
from jobledger.v1.job_pb2 import Job, JobState
from jobledger.v1.job_service_pb2 import WatchJobsResponse, WatchMode

from tests.replicas.conftest import Connect, serving
from tests.support.api import Api
from tests.support.databases import new_database
from tests.support.errors import refused
from tests.support.postgres import connect as connect_to_database
from tests.support.server import Server
from tests.support.states import CANCELLED, CANCELLING, FAILED, QUEUED
from tests.support.watching import CHANGED, DELETED, Watch

pytestmark = pytest.mark.long  # several servers over one database, which are killed, migrated, overloaded

EVERY = WatchMode.WATCH_MODE_EVERY
EAGER = {"DUE_SCAN_SECONDS": "0.02", "TRIM_SECONDS": "0.02"}
SECOND = timedelta(seconds=1)
JOBS = 40
CLAIMED = ChangeType.CHANGE_TYPE_CLAIMED
LEASE_EXPIRED = ChangeType.CHANGE_TYPE_LEASE_EXPIRED
RUN_TIMED_OUT = ChangeType.CHANGE_TYPE_RUN_TIMED_OUT
ATTEMPT_TIMED_OUT = ChangeType.CHANGE_TYPE_ATTEMPT_TIMED_OUT
REMOVED = ChangeType.CHANGE_TYPE_DELETED
STATE_OF_HISTORY = """
SELECT trimmed, min(events.position), count(events.position), ledger.position
FROM ledger LEFT JOIN events ON true GROUP BY trimmed, ledger.position
"""


@pytest.fixture(scope="module")
def eager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Return three replicas that look after their duties all the time and keep cancelled jobs for a second."""
    directory = tmp_path_factory.mktemp("eager")
    database = new_database("postgresql", directory)
    with serving(database, directory, 3, **EAGER, cancelled_retention="1") as servers:
        yield servers


@pytest.fixture
def apis(eager: list[Server], connect: Connect) -> list[Api]:
    """Return the APIs of the eager replicas."""
    return [connect(server) for server in eager]


async def changes_of(api: Api, job_id: str) -> Counter[int]:
    """Count, from a job's history, how often each kind of change happened."""
    events = (await api.list_events(job_id, page_size=500)).events
    return Counter(change.type for event in events for change in event.changes)


async def claim_and_fall_silent(api: Api, kind: str) -> None:
    """Claim for the shortest time and do nothing with it, over and over, until cancelled."""
    while True:
        await api.claim(kind, JOBS, lease_duration=SECOND, wait=20 * SECOND)


async def ended_in(watch: Watch[WatchJobsResponse], state: JobState, count: int) -> None:
    """Read on until so many jobs are in a state."""
    there: set[str] = set()
    while len(there) < count:
        message = await watch.change()
        if message.job.state == state:
            there.add(message.job.job_id)


async def test_each_lease_that_runs_out_counts_as_one_attempt(apis: list[Api], kind: str):
    policy = {"max_attempts": 2, "initial_backoff": {"nanos": 10_000_000}}
    jobs = [await apis[n % 3].create(kind, retry_policy=policy) for n in range(JOBS)]
    claiming = [asyncio.create_task(claim_and_fall_silent(api, kind)) for api in apis]
    async with apis[0].watch_jobs(kind, mode=EVERY) as watch:
        await ended_in(watch, FAILED, JOBS)
    for task in claiming:
        task.cancel()
    for job in jobs:
        counts = await changes_of(apis[1], job.job_id)
        assert (counts[CLAIMED], counts[LEASE_EXPIRED]) == (2, 2)
        assert (await apis[2].get(job.job_id)).chunks[0].attempt == 2


@pytest.mark.guarantee("3c.8")
async def test_what_takes_too_long_ends_once(apis: list[Api], kind: str):
    limits = [{"run_timeout": SECOND}, {"attempt_timeout": SECOND, "retry_policy": {"max_attempts": 1}}]
    jobs = [await apis[n % 3].create(kind, **limits[n % 2]) for n in range(JOBS)]
    async with apis[0].watch_jobs(kind, mode=EVERY) as watch:
        await apis[1].claim(kind, JOBS, lease_duration=60 * SECOND)
        await ended_in(watch, FAILED, JOBS)
    for n, job in enumerate(jobs):
        counts = await changes_of(apis[1], job.job_id)
        assert (counts[RUN_TIMED_OUT], counts[ATTEMPT_TIMED_OUT]) == ((1, 0), (0, 1))[n % 2]
        assert (await apis[2].get(job.job_id)).error.code == "TIMED_OUT"


async def test_a_grace_period_that_ends_stops_each_job_once(apis: list[Api], kind: str):
    jobs = [await apis[n % 3].create(kind) for n in range(JOBS)]
    await apis[0].claim(kind, JOBS)
    cursor = (await apis[0].list_jobs(page_size=1)).cursor
    await asyncio.gather(*(apis[1].cancel(job.job_id, grace_period=SECOND) for job in jobs))
    async with apis[2].watch_jobs(kind, mode=EVERY, cursor=cursor) as watch:
        messages = await watch.changes(3 * JOBS)  # asked, stopped, and deleted when `cancelled_retention` is over
    for job in jobs:
        mine = [message for message in messages if message.job.job_id == job.job_id]
        assert [(message.type, message.job.state) for message in mine] == [
            (CHANGED, CANCELLING),
            (CHANGED, CANCELLED),
            (DELETED, CANCELLED),
        ]


async def retried_in_time(apis: list[Api], kind: str) -> Job:
    """Return a job that was retried within the second after its cancellation, which a machine may sleep through."""
    while True:
        job = await apis[0].create(kind)
        await apis[2].cancel(job.job_id)
        try:
            return await apis[1].retry(job.job_id)
        except grpc.aio.AioRpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND  # noqa: PT017 - it need not be raised


async def test_an_ended_job_reports_when_it_goes_and_goes_once_unless_it_is_retried(apis: list[Api], kind: str):
    kept = await retried_in_time(apis, f"{kind}.kept")
    assert (kept.state, kept.HasField("expire_time")) == (QUEUED, False)
    jobs = [await apis[n % 3].create(kind) for n in range(JOBS)]
    cursor = (await apis[0].list_jobs(page_size=1)).cursor
    ended = [(await apis[n % 3].cancel(job.job_id)).job for n, job in enumerate(jobs)]
    for job in ended:
        assert job.expire_time.ToDatetime() - job.end_time.ToDatetime() == SECOND
    gone: list[str] = []
    async with apis[2].watch_jobs(kind, mode=EVERY, cursor=cursor) as watch:
        while len(gone) < JOBS:
            message = await watch.change()
            if message.type == DELETED:
                gone.append(message.job.job_id)
    assert sorted(gone) == sorted(job.job_id for job in ended)
    assert (await apis[2].get(kept.job_id)).state == QUEUED
    for job_id in gone:
        assert (await changes_of(apis[0], job_id))[REMOVED] == 1
        with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
            await apis[1].get(job_id)
    assert (await apis[0].get(kept.job_id)).state == QUEUED


async def test_history_is_trimmed_by_one_at_a_time_and_what_is_left_is_gapless(
    connect: Connect, kind: str, tmp_path: Path
):
    database = new_database("postgresql", tmp_path)
    with serving(database, tmp_path, 2, **EAGER, event_retention="0.3") as servers:
        apis = [connect(server) for server in servers]
        job = await apis[0].create(kind)
        [claimed] = await apis[0].claim(kind)
        trimmed, begun = 0, (await apis[0].list_jobs(page_size=1)).cursor
        with connect_to_database(database) as connection:
            for n in range(10_000):
                await apis[n % 2].report(claimed, message=f"{n}")
                row = connection.execute(STATE_OF_HISTORY).fetchone()
                assert row is not None
                before, (trimmed, oldest, kept, newest) = trimmed, row
                assert before <= trimmed <= newest
                assert kept == newest - trimmed
                assert oldest in {None, trimmed + 1}
                if trimmed > 50:
                    break
        with refused(grpc.StatusCode.OUT_OF_RANGE, "HISTORY_TRIMMED"):
            await apis[1].watch_job(job.job_id, cursor=begun).message()
