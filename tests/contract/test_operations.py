"""google.longrunning.Operations over jobs, by the client that Google's own libraries use."""

import asyncio
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.api_core.operation_async import AsyncOperation
from google.api_core.operations_v1 import OperationsAsyncClient
from google.longrunning import operations_pb2 as lro
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2
from jobledger.v1.chunk_pb2 import WorkError
from jobledger.v1.job_pb2 import Job

from tests.support.api import Api
from tests.support.bounds import BOUND
from tests.support.errors import invalid, refused
from tests.support.states import CANCELLED, COMPLETED, FAILED, QUEUED, RUNNING


@pytest.fixture
def operations(api: Api) -> OperationsAsyncClient:
    return OperationsAsyncClient(api.channel)


@pytest.fixture
def stub(api: Api) -> lro.OperationsStub:
    return lro.OperationsStub(api.channel)


def job_in(packed: Any) -> Job:
    job = Job()
    assert packed.Unpack(job)
    return job


async def test_a_job_is_an_operation(operations: OperationsAsyncClient, api: Api, kind: str):
    job = await api.job_in(RUNNING, kind, item_count=2, chunk_size=1)
    operation = await operations.get_operation(f"operations/{job.job_id}")
    assert operation.name == f"operations/{job.job_id}@{job.uid}"
    assert not operation.done
    assert operation.WhichOneof("result") is None
    assert job_in(operation.metadata).state == RUNNING


async def test_a_completed_job_has_a_response(operations: OperationsAsyncClient, api: Api, kind: str):
    job = await api.job_in(COMPLETED, kind)
    operation = await operations.get_operation(f"operations/{job.job_id}")
    assert operation.done
    assert job_in(operation.response) == job_in(operation.metadata)
    assert job_in(operation.response).state == COMPLETED


async def test_a_failed_job_has_an_error_that_carries_the_works_own(
    operations: OperationsAsyncClient, api: Api, kind: str
):
    job = await api.job_in(FAILED, kind)
    operation = await operations.get_operation(f"operations/{job.job_id}")
    assert operation.done
    assert operation.error.code == code_pb2.UNKNOWN
    assert operation.error.message == "BOOM"
    error = WorkError()
    assert operation.error.details[0].Unpack(error)
    assert error == job.error


async def test_a_retried_job_is_an_operation_that_is_not_done(operations: OperationsAsyncClient, api: Api, kind: str):
    job = await api.job_in(FAILED, kind)
    await api.retry(job.job_id)
    operation = await operations.get_operation(f"operations/{job.job_id}")
    assert not operation.done
    assert operation.WhichOneof("result") is None


async def test_cancel_is_that_of_the_job(operations: OperationsAsyncClient, api: Api, kind: str):
    job = await api.create(kind)
    for _ in range(2):  # an operation that is cancelled may be cancelled again
        await operations.cancel_operation(f"operations/{job.job_id}")
    operation = await operations.get_operation(f"operations/{job.job_id}")
    assert operation.error.code == code_pb2.CANCELLED
    assert (await api.get(job.job_id)).state == CANCELLED


async def test_delete_is_for_what_is_done(operations: OperationsAsyncClient, api: Api, kind: str):
    name = f"operations/{(await api.create(kind)).job_id}"
    with pytest.raises(exceptions.FailedPrecondition):
        await operations.delete_operation(name)
    await operations.cancel_operation(name)
    await operations.delete_operation(name)
    with pytest.raises(exceptions.NotFound):
        await operations.get_operation(name)


async def test_a_name_is_of_one_job_whoever_has_its_id_later(operations: OperationsAsyncClient, api: Api, kind: str):
    job = await api.create(kind)
    name = (await operations.get_operation(f"operations/{job.job_id}")).name
    await operations.cancel_operation(name)
    await operations.delete_operation(name)
    again = await api.create(kind, job_id=job.job_id)
    for call in (operations.get_operation, operations.cancel_operation, operations.delete_operation):
        with pytest.raises(exceptions.NotFound):
            await call(name)
    assert (await operations.get_operation(f"operations/{job.job_id}")).name.endswith(again.uid)


async def test_googles_own_future_gets_the_result(operations: OperationsAsyncClient, api: Api, kind: str):
    job = await api.create(kind)
    [claimed] = await api.claim(kind)

    async def refresh(**_: object) -> lro.Operation:
        return await operations.get_operation(f"operations/{job.job_id}")

    async def cancel() -> None:
        await operations.cancel_operation(f"operations/{job.job_id}")

    future = AsyncOperation(await refresh(), refresh, cancel, Job, metadata_type=Job)
    assert not await future.done()
    await api.complete(claimed, result_uri="s3://bucket/result")
    assert (await future.result(timeout=BOUND)).result_uri == "s3://bucket/result"
    assert future.metadata.state == COMPLETED


async def test_wait_ends_with_the_job(stub: lro.OperationsStub, api: Api, kind: str):
    job = await api.create(kind)
    [claimed] = await api.claim(kind)
    request = lro.WaitOperationRequest(name=f"operations/{job.job_id}", timeout=Duration(seconds=30))
    waiting = asyncio.ensure_future(stub.WaitOperation(request))
    await api.complete(claimed)
    assert (await waiting).done


async def test_wait_ends_with_its_time(stub: lro.OperationsStub, api: Api, kind: str):
    job = await api.create(kind)
    request = lro.WaitOperationRequest(name=f"operations/{job.job_id}", timeout=Duration(nanos=1_000))
    assert not (await stub.WaitOperation(request)).done


async def test_wait_without_a_time_ends_with_the_job_too(stub: lro.OperationsStub, api: Api, kind: str):
    job = await api.create(kind)
    async with api.watch_job(job.job_id) as watch:
        await watch.message()
        waiting = asyncio.ensure_future(stub.WaitOperation(lro.WaitOperationRequest(name=f"operations/{job.job_id}")))
        await api.cancel(job.job_id)
    assert (await waiting).error.code == code_pb2.CANCELLED


async def test_a_list_is_filtered_by_state(operations: OperationsAsyncClient, api: Api, kind: str):
    mine = {(await api.job_in(state, kind, priority=5)).job_id for state in (COMPLETED, RUNNING, QUEUED)}
    for text, states in (
        ("", {QUEUED, RUNNING, COMPLETED}),
        ("done=true", {COMPLETED}),
        ("done = false", {QUEUED, RUNNING}),
        ("state=RUNNING", {RUNNING}),
        ('metadata.state = "QUEUED" OR state=COMPLETED', {QUEUED, COMPLETED}),
    ):
        found = []
        async for operation in await operations.list_operations("operations", text):
            job = job_in(operation.metadata)
            if job.job_id in mine:
                found.append(job.state)
            elif len(found) == len(states):
                break  # the newest come first: ours have all been seen
        assert sorted(found) == sorted(states), text


async def test_a_list_continues_over_pages(stub: lro.OperationsStub, api: Api, kind: str):
    made = [await api.create(kind) for _ in range(3)]
    request, names = lro.ListOperationsRequest(name="operations", page_size=2), []
    for _ in range(2):
        page = await stub.ListOperations(request)
        names += [operation.name for operation in page.operations]
        request.page_token = page.next_page_token
    assert names[:3] == [f"operations/{job.job_id}@{job.uid}" for job in reversed(made)]


@pytest.mark.one_store("it is refused before the store is asked")
@pytest.mark.parametrize("name", ["", "operations/", "jobs/x", "operations/a b", "operations/a/b"])
async def test_a_name_that_is_invalid_is_refused(stub: lro.OperationsStub, name: str):
    with invalid("name"):
        await stub.GetOperation(lro.GetOperationRequest(name=name))


@pytest.mark.one_store("it is refused before the store is asked")
@pytest.mark.parametrize(
    "text", ["state=GONE", "state>RUNNING", "done=maybe", "labels.x=1", "state=RUNNING AND done=true"]
)
async def test_a_filter_that_is_invalid_is_refused(stub: lro.OperationsStub, text: str):
    with invalid("filter"):
        await stub.ListOperations(lro.ListOperationsRequest(filter=text))


async def test_a_wait_without_end_or_before_its_beginning_is_refused(stub: lro.OperationsStub):
    with invalid("timeout"):
        await stub.WaitOperation(lro.WaitOperationRequest(name="operations/x", timeout=Duration(seconds=-1)))


async def test_an_operation_that_is_not_there_is_not_found(stub: lro.OperationsStub):
    with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
        await stub.WaitOperation(lro.WaitOperationRequest(name="operations/nowhere"))
