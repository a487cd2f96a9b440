"""CreateJob with validate_only checks everything, answers as CreateJob would, and writes nothing."""

from collections.abc import Callable
from uuid import uuid4

import grpc
import pytest
from jobledger.v1.job_service_pb2 import CreateJobRequest, GetJobRequest, ListEventsRequest

from tests.conftest import StartServer
from tests.support.api import Api
from tests.support.errors import invalid, refused
from tests.support.limits import kind_scope, set_limit
from tests.support.server import Server

ALREADY_EXISTS = grpc.StatusCode.ALREADY_EXISTS


@pytest.mark.guarantee("3d.4")
async def test_the_answer_is_the_job_as_it_would_be_and_nothing_is_written(api: Api, kind: str):
    request = CreateJobRequest(
        kind=kind, job_id=uuid4().hex, request_id=uuid4().hex, item_count=3, chunk_size=2, labels={"a": "b"}
    )
    checked = CreateJobRequest(validate_only=True)
    checked.MergeFrom(request)
    before = (await api.list_jobs(filter={"kinds": [kind]})).cursor
    preview = await api.jobs.CreateJob(checked)
    again = await api.jobs.CreateJob(checked)
    for name, call in {"GetJob": GetJobRequest, "ListEvents": ListEventsRequest}.items():
        with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
            await getattr(api.jobs, name)(call(job_id=request.job_id))
    assert await api.claim(kind) == []
    created = await api.jobs.CreateJob(request)
    assert (preview.created, again.created, created.created) == (True, True, True)
    for answer in (preview, again, created):
        answer.job.ClearField("create_time")
        answer.job.ClearField("update_time")
        answer.job.ClearField("etag")
    assert (preview.job.uid, again.job.uid) == ("", "")
    created.job.ClearField("uid")
    assert preview.job == again.job == created.job
    async with api.watch_jobs(kind, cursor=before) as watch:
        assert (await watch.change()).job.revision == 1


async def test_a_job_that_exists_is_the_answer(api: Api, kind: str):
    request = CreateJobRequest(kind=kind, job_id=uuid4().hex, request_id=uuid4().hex)
    created = await api.jobs.CreateJob(request)
    request.validate_only = True
    answer = await api.jobs.CreateJob(request)
    assert not answer.created
    assert answer.job == created.job


@pytest.mark.parametrize(("name", "reason"), [("job_id", "JOB_ALREADY_EXISTS"), ("request_id", "REQUEST_ID_REUSED")])
async def test_a_taken_id_is_refused(api: Api, kind: str, name: str, reason: str):
    id_ = uuid4().hex
    await api.create(kind, **{name: id_})
    with refused(ALREADY_EXISTS, reason):
        await api.create(kind, item_count=7, validate_only=True, **{name: id_})


async def test_a_broken_rule_is_refused(api: Api, kind: str):
    with invalid("priority", 'labels["a b"]'):
        await api.create(kind, priority=11, labels={"a b": ""}, validate_only=True)


async def test_a_job_too_many_is_refused_and_a_check_is_not_one(
    start_server: StartServer, connect: Callable[[Server], Api], kind: str
):
    api = connect(start_server(unfinished_jobs_per_owner="1"))
    for _ in range(3):
        await api.create(kind, validate_only=True)
    await api.create(kind)
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED"):
        await api.create(kind, validate_only=True)


async def test_a_check_takes_no_slot(api: Api, kind: str):
    await set_limit(api, kind_scope(kind), 1)
    await api.create(kind, validate_only=True)
    first = await api.create(kind)
    preview = await api.create(kind, validate_only=True)
    assert (bool(first.holds), bool(preview.holds)) == (False, True)
