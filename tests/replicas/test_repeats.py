"""A request that is sent again takes effect once, also when it is sent to several replicas at the same moment."""

import asyncio

import grpc
import pytest
from jobledger.v1.job_service_pb2 import CreateJobRequest, RetryJobRequest

from tests.support.api import Api
from tests.support.errors import read
from tests.support.states import FAILED

pytestmark = pytest.mark.long  # several servers over one database, which are killed, migrated, overloaded

ROUNDS = 25


@pytest.mark.parametrize("name", ["job_id", "request_id"])
async def test_a_job_that_is_created_at_all_replicas_at_once_is_one_job(apis: list[Api], kind: str, name: str):
    for n in range(ROUNDS):
        request = CreateJobRequest(kind=kind, item_count=3, **{name: f"{kind}-{n}"})
        answers = await asyncio.gather(*(api.jobs.CreateJob(request) for api in apis for _ in range(2)))
        assert len({answer.job.job_id for answer in answers}) == 1
        assert [answer.created for answer in answers].count(True) == 1


async def test_jobs_that_are_created_at_all_replicas_in_any_order_are_one_each(apis: list[Api], kind: str):
    requests = [CreateJobRequest(kind=kind, job_id=f"{kind}-{n}") for n in range(40)]
    orders = [requests, requests[::-1], requests[20:] + requests[:20]]
    calls = [api.jobs.CreateJob(request) for api, order in zip(apis, orders, strict=True) for request in order]
    answers = await asyncio.gather(*calls)
    assert [answer.created for answer in answers].count(True) == 40


async def test_a_job_id_that_two_want_at_once_for_different_jobs_goes_to_one(apis: list[Api], kind: str):
    for n in range(ROUNDS):
        calls = [
            api.jobs.CreateJob(CreateJobRequest(kind=kind, job_id=f"{kind}-{n}", item_count=at + 1))
            for at, api in enumerate(apis)
        ]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        refusals = [read(answer) for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        assert [result.reason for result in refusals] == ["JOB_ALREADY_EXISTS"] * 2


async def test_a_retry_that_is_sent_to_all_replicas_at_once_begins_one_run(apis: list[Api], kind: str):
    for n in range(ROUNDS):
        job = await apis[0].job_in(FAILED, kind)
        request = RetryJobRequest(job_id=job.job_id, request_id=f"{kind}-{n}")
        answers = await asyncio.gather(*(api.jobs.RetryJob(request) for api in apis))
        assert {answer.job.retry_count for answer in answers} == {1}
        await apis[0].cancel(job.job_id)
