"""ClaimChunk: an outside engine takes the chunk whose number it was handed, once for each of its task ids."""

from datetime import timedelta
from uuid import uuid4

import grpc
import pytest
from jobledger.v1.worker_service_pb2 import ClaimChunkRequest, ClaimedChunk

from tests.support.api import Api
from tests.support.errors import invalid, refused
from tests.support.states import CANCELLED, CHUNK_PROCESSING, COMPLETED, LEASE_LOST, OK, RUNNING

FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
NOT_FOUND = grpc.StatusCode.NOT_FOUND


async def claim_one(api: Api, job_id: str, chunk_index: int | None = 0, **fields: object) -> ClaimedChunk:
    """Claim one named chunk."""
    request = ClaimChunkRequest(job_id=job_id, chunk_index=chunk_index, **({"worker": "celery"} | fields))
    return (await api.work.ClaimChunk(request)).chunk


async def test_the_named_chunk_is_leased_with_its_task_id(api: Api, kind: str):
    job_id = (await api.create(kind, input={"a": 1}, item_count=3, chunk_size=1)).job_id
    claimed = await claim_one(api, job_id, 1, task_id="celery-42", lease_duration=timedelta(hours=1))
    assert (claimed.job_id, claimed.kind, claimed.chunk.index) == (job_id, kind, 1)
    assert (claimed.chunk.state, claimed.chunk.task_id, claimed.chunk.attempt) == (CHUNK_PROCESSING, "celery-42", 1)
    assert dict(claimed.job_input) == {"a": 1}
    job = await api.get(job_id)
    assert job.state == RUNNING
    assert job.chunks[1] == claimed.chunk
    assert (await api.complete(claimed))[0].status == OK


async def test_the_task_that_holds_the_chunk_gets_its_lease_again(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    first = await claim_one(api, job_id, task_id="t1")
    second = await claim_one(api, job_id, task_id="t1")
    assert second.lease.token == first.lease.token
    assert second.chunk.attempt == 1
    assert (await api.get(job_id)).revision == 2


@pytest.mark.parametrize("task_id", ["t2", ""])
async def test_a_chunk_that_another_task_holds_is_refused(api: Api, kind: str, task_id: str):
    job_id = (await api.create(kind)).job_id
    await claim_one(api, job_id, task_id="t1")
    with refused(FAILED_PRECONDITION, "CHUNK_NOT_CLAIMABLE") as result:
        await claim_one(api, job_id, task_id=task_id)
    assert result.metadata == {"job_id": job_id, "chunk_index": "0", "state": "PROCESSING"}


async def test_without_a_task_id_a_second_claim_is_refused(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    await claim_one(api, job_id)
    with refused(FAILED_PRECONDITION, "CHUNK_NOT_CLAIMABLE"):
        await claim_one(api, job_id)


@pytest.mark.parametrize("state", [COMPLETED, CANCELLED])
async def test_a_chunk_that_has_ended_is_refused(api: Api, kind: str, state: int):
    job = await api.job_in(state, kind)
    with refused(FAILED_PRECONDITION, "CHUNK_NOT_CLAIMABLE"):
        await claim_one(api, job.job_id, task_id="t1")
    assert await api.get(job.job_id) == job


async def test_a_chunk_that_is_not_yet_due_is_refused(api: Api, kind: str):
    job_id = (await api.create(kind, retry_policy={"initial_backoff": timedelta(hours=1)})).job_id
    await api.fail(await claim_one(api, job_id, task_id="t1"))
    with refused(FAILED_PRECONDITION, "CHUNK_NOT_CLAIMABLE"):
        await claim_one(api, job_id, task_id="t2")


async def test_a_task_whose_attempt_failed_gets_a_new_lease(api: Api, kind: str):
    job_id = (await api.create(kind, retry_policy={"initial_backoff": timedelta(0)})).job_id
    first = await claim_one(api, job_id, task_id="t1")
    await api.fail(first)
    second = await claim_one(api, job_id, task_id="t1")
    assert second.lease.token != first.lease.token
    assert second.chunk.attempt == 2
    assert (await api.complete(first))[0].status == LEASE_LOST
    assert (await api.complete(second))[0].status == OK


async def test_a_later_claim_without_task_id_forgets_the_one_before(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    await api.release(await claim_one(api, job_id, task_id="t1"))
    await api.claim(kind)
    assert (await api.get(job_id)).chunks[0].task_id == ""


async def test_what_does_not_exist_is_not_found(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    with refused(NOT_FOUND, "CHUNK_NOT_FOUND") as result:
        await claim_one(api, job_id, 1)
    assert result.metadata == {"job_id": job_id, "chunk_index": "1"}
    with refused(NOT_FOUND, "JOB_NOT_FOUND"):
        await claim_one(api, uuid4().hex)


@pytest.mark.one_store("it is refused before the store is asked")
@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("job_id", {"job_id": ""}),
        ("chunk_index", {"chunk_index": -1}),
        ("chunk_index", {"chunk_index": None}),
        ("worker", {"worker": ""}),
        ("worker", {"worker": "w" * 257}),
        ("task_id", {"task_id": "t" * 257}),
        ("lease_duration", {"lease_duration": timedelta(0)}),
    ],
)
async def test_a_request_that_breaks_a_rule_is_refused(api: Api, kind: str, field: str, broken: dict[str, object]):
    job_id = (await api.create(kind)).job_id
    with invalid(field):
        await claim_one(api, **({"job_id": job_id} | broken))
    assert (await api.get(job_id)).revision == 1
