"""unique_key: one unfinished job for each owner, kind and key, whoever creates, ends or retries at the same time."""

import asyncio
from collections.abc import Callable
from itertools import pairwise

import grpc
import pytest
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import (
    BatchCreateJobsRequest,
    CreateJobRequest,
    CreateJobResponse,
    OnConflict,
    RetryJobRequest,
)

from tests.support.api import Api, fresh_kind
from tests.support.errors import invalid, read, refused
from tests.support.server import Server
from tests.support.states import CANCELLED, COMPLETED, FAILED, QUEUED

ALREADY_EXISTS = grpc.StatusCode.ALREADY_EXISTS
REFUSE = OnConflict.ON_CONFLICT_REFUSE
ENDED = [COMPLETED, FAILED, CANCELLED]


async def create(api: Api, kind: str, key: str = "nightly", **fields: object) -> CreateJobResponse:
    return await api.jobs.CreateJob(CreateJobRequest(kind=kind, unique_key=key, **fields))


async def jobs_of(api: Api, kind: str) -> list[Job]:
    return list((await api.list_jobs(filter={"kinds": [kind]}, page_size=500)).jobs)


async def test_a_second_job_is_the_first_or_is_refused(api: Api, kind: str):
    first = await create(api, kind, input={"n": 1})
    await api.claim(kind)
    second = await create(api, kind, input={"n": 2}, priority=9)
    assert (first.created, first.job.unique_key, second.created) == (True, "nightly", False)
    assert second.job == (await jobs_of(api, kind))[0]
    with refused(ALREADY_EXISTS, "UNIQUE_KEY_TAKEN") as result:
        await create(api, kind, on_conflict=REFUSE)
    assert result.metadata == {"unique_key": "nightly", "job_id": first.job.job_id}
    others = [await create(api, kind, "weekly"), await create(api, fresh_kind()), await create(api, kind, "")]
    assert all(one.created for one in others)
    assert len(await jobs_of(api, kind)) == 3


@pytest.mark.guarantee("3d.4")
@pytest.mark.parametrize("state", ENDED)
async def test_the_key_is_free_when_its_job_has_ended_and_a_retry_takes_it_again(api: Api, kind: str, state: int):
    first = await api.job_in(state, kind, unique_key="nightly")
    second = (await create(api, kind, on_conflict=REFUSE)).job
    assert second.job_id != first.job_id
    if state == COMPLETED:
        return
    with refused(ALREADY_EXISTS, "UNIQUE_KEY_TAKEN") as result:
        await api.retry(first.job_id)
    assert result.metadata == {"unique_key": "nightly", "job_id": second.job_id}
    await api.cancel(second.job_id)
    retried = await api.retry(first.job_id)
    assert (retried.state, (await create(api, kind)).job) == (QUEUED, retried)


DAY = {"seconds": 86_400}


@pytest.mark.guarantee("3d.4")
@pytest.mark.parametrize("state", ENDED)
async def test_within_its_window_an_ended_job_has_its_key(api: Api, kind: str, state: int):
    first = await api.job_in(state, kind, unique_key="nightly", unique_window=DAY)
    assert first.unique_window.ToSeconds() == 86_400
    for fields in ({}, {"unique_window": DAY}, {"unique_window": {"seconds": 1}}, {"validate_only": True}):
        again = await create(api, kind, **fields)
        assert (again.created, again.job.job_id) == (False, first.job_id)
    with refused(ALREADY_EXISTS, "UNIQUE_KEY_TAKEN") as result:
        await create(api, kind, on_conflict=REFUSE)
    assert result.metadata == {"unique_key": "nightly", "job_id": first.job_id}
    assert (await create(api, kind, "weekly")).created
    assert (await create(api, fresh_kind())).created
    if state != COMPLETED:
        retried = await api.retry(first.job_id)
        assert (retried.state, (await create(api, kind)).job) == (QUEUED, retried)
        await api.cancel(first.job_id)
        assert not (await create(api, kind)).created
    await api.delete(first.job_id)
    assert (await create(api, kind)).created


async def test_an_older_job_is_not_retried_within_the_window_of_another(api: Api, kind: str):
    older = await api.job_in(CANCELLED, kind, unique_key="nightly")
    newer = await api.job_in(CANCELLED, kind, unique_key="nightly", unique_window=DAY)
    with refused(ALREADY_EXISTS, "UNIQUE_KEY_TAKEN") as result:
        await api.retry(older.job_id)
    assert result.metadata == {"unique_key": "nightly", "job_id": newer.job_id}


async def test_a_window_that_is_over_frees_the_key(api: Api, kind: str):
    """The time of the database is that of the server: a window of a second is over after a bounded number of tries."""
    jobs = []
    while len(jobs) < 3:
        made = await create(api, kind, unique_window={"seconds": 1})
        if made.created:
            jobs.append(made.job)
            await api.cancel(made.job.job_id)
    times = [job.create_time.ToMicroseconds() for job in jobs]
    assert all(later - earlier >= 1_000_000 for earlier, later in pairwise(times))
    retry = RetryJobRequest(job_id=jobs[0].job_id)
    while True:  # until the window of the last is over, too
        [result] = await asyncio.gather(api.jobs.RetryJob(retry), return_exceptions=True)
        if not isinstance(result, grpc.RpcError):
            break
        assert read(result).reason == "UNIQUE_KEY_TAKEN"
    assert (await create(api, kind)).job.job_id == jobs[0].job_id
    with refused(ALREADY_EXISTS, "UNIQUE_KEY_TAKEN"):
        await api.retry(jobs[1].job_id)


async def test_a_window_is_for_a_key(api: Api, kind: str):
    for fields in ({"unique_window": DAY}, {"unique_key": "k", "unique_window": {}}):
        with invalid("unique_window"):
            await api.create(kind, **fields)


@pytest.mark.guarantee("3d.4")
async def test_of_many_that_create_and_end_within_the_window_one_creates(
    replicas: list[Server], connect: Callable[[Server], Api], kind: str
):
    apis = [connect(server) for server in replicas]

    async def create_and_end(api: Api, number: int) -> CreateJobResponse:
        made = await create(api, kind, unique_window=DAY, item_count=number + 1)
        await api.cancel(made.job.job_id)
        return made

    answers = await asyncio.gather(*(create_and_end(api, n) for n in range(12) for api in apis))
    assert sum(one.created for one in answers) == len(await jobs_of(apis[0], kind)) == 1


async def test_the_key_is_free_when_its_job_is_deleted(api: Api, kind: str):
    first = (await create(api, kind)).job
    await api.delete(first.job_id, force=True)
    assert (await create(api, kind)).created


async def test_a_request_that_took_effect_is_the_same_answer(api: Api, kind: str):
    first = await create(api, kind, request_id=f"{kind}-1")
    await api.cancel(first.job.job_id)
    second = await create(api, kind, request_id=f"{kind}-2")
    again = await create(api, kind, request_id=f"{kind}-1")
    assert (second.created, again.created, again.job.job_id) == (True, False, first.job.job_id)


async def test_a_batch_and_a_check_know_the_key(api: Api, kind: str):
    request = CreateJobRequest(kind=kind, unique_key="nightly")
    refusing = CreateJobRequest(kind=kind, unique_key="nightly", on_conflict=REFUSE)
    checked = await create(api, kind, on_conflict=REFUSE, validate_only=True)
    answer = await api.jobs.BatchCreateJobs(BatchCreateJobsRequest(requests=[request, request, refusing]))
    assert checked.created
    assert [(one.created, one.HasField("error")) for one in answer.results] == [
        (True, False), (False, False), (False, True),
    ]  # fmt: skip
    with refused(ALREADY_EXISTS, "UNIQUE_KEY_TAKEN"):
        await create(api, kind, on_conflict=REFUSE, validate_only=True)
    assert len(await jobs_of(api, kind)) == 1


@pytest.mark.parametrize("fields", [{"unique_key": "é" * 128}, {"unique_key": "k" * 256}, {"unique_key": "a\0b"}])
async def test_a_key_that_breaks_its_rule_is_refused(api: Api, kind: str, fields: dict[str, object]):
    with invalid("unique_key"):
        await api.create(kind, **fields)


async def test_on_conflict_is_for_a_key(api: Api, kind: str):
    with invalid("on_conflict"):
        await api.create(kind, on_conflict=REFUSE)
    with invalid("on_conflict"):
        await api.create(kind, unique_key="k", on_conflict=7)


@pytest.mark.guarantee("3d.4")
async def test_of_many_callers_at_once_one_creates(replicas: list[Server], connect: Callable[[Server], Api], kind: str):
    apis = [connect(server) for server in replicas]
    answers = await asyncio.gather(*(create(api, kind, item_count=n + 1) for n in range(20) for api in apis))
    assert sum(one.created for one in answers) == 1
    assert len({one.job.job_id for one in answers}) == len(await jobs_of(apis[0], kind)) == 1


@pytest.mark.guarantee("3d.4")
async def test_ends_creations_and_retries_at_once_leave_one_unfinished_job(
    replicas: list[Server], connect: Callable[[Server], Api], kind: str
):
    apis = [connect(server) for server in replicas]

    async def one_round(number: int) -> None:
        api = apis[number % len(apis)]
        job = (await create(api, kind)).job
        await api.cancel(job.job_id)
        call = api.jobs.RetryJob(RetryJobRequest(job_id=job.job_id))
        [result] = await asyncio.gather(call, return_exceptions=True)
        if isinstance(result, grpc.RpcError):
            assert read(result).reason in {"UNIQUE_KEY_TAKEN", "JOB_NOT_ENDED"}

    for _ in range(3):
        await asyncio.gather(*map(one_round, range(12)))
        unfinished = [job for job in await jobs_of(apis[0], kind) if job.state not in ENDED]
        assert len(unfinished) <= 1
        last = await create(apis[-1], kind)
        assert last.created == (not unfinished)
        await apis[0].cancel(last.job.job_id)
