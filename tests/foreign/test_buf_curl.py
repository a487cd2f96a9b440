"""A client that knows nothing of Jobledger but its reflection, `buf curl`, drives the running server."""

import asyncio
from datetime import timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.support.api import Api
from tests.support.foreign import Refusal, buf_curl
from tests.support.server import Server

pytestmark = pytest.mark.one_store("a foreign client sees messages, not the store")

JOBS = "jobledger.v1.JobService"


async def called(server: Server, method: str, data: dict) -> list[dict]:
    """Call a method of JobService that must succeed and return its messages."""
    answer = await buf_curl(server.target, f"{JOBS}/{method}", data=data)
    assert answer.code == 0, answer.err
    return answer.messages()


async def test_it_lists_the_services(server: Server):
    answer = await buf_curl(server.target, "", "--list-services")
    assert answer.code == 0, answer.err
    assert {JOBS, "jobledger.v1.WorkerService", "grpc.health.v1.Health"} <= set(answer.out.split())


async def test_it_creates_gets_and_lists_a_job(server: Server, kind: str):
    [created] = await called(server, "CreateJob", {"kind": kind, "item_count": 1_200, "input": {"a": 1}})
    job_id = created["job"]["jobId"]
    assert created["created"] is True
    [got] = await called(server, "GetJob", {"job_id": job_id, "view": "JOB_VIEW_FULL"})
    assert (got["job"]["state"], got["job"]["chunksSummary"]) == ("JOB_STATE_QUEUED", {"total": 3, "pending": 3})
    assert got["job"]["input"] == {"a": 1}
    [listed] = await called(server, "ListJobs", {"filter": {"kinds": [kind]}})
    assert [job["jobId"] for job in listed["jobs"]] == [job_id]
    assert listed["totalSize"] == "1"


async def test_it_sees_numbers_whose_zero_means_something(server: Server, kind: str):
    [created] = await called(server, "CreateJob", {"kind": kind, "priority": 0})
    job_id = created["job"]["jobId"]
    claim = {"kinds": [kind], "worker": "w"}
    answer = await buf_curl(server.target, "jobledger.v1.WorkerService/ClaimChunks", data=claim)
    assert answer.code == 0, answer.err
    [claimed] = answer.messages()[0]["chunks"]
    [read] = await called(server, "GetJob", {"job_id": job_id, "view": "JOB_VIEW_FULL"})
    [listed] = await called(server, "ListChunks", {"job_id": job_id})
    assert (read["job"]["priority"], read["job"]["progress"]["percent"]) == (0, 0)
    for chunk in claimed["chunk"], *read["job"]["chunks"], *listed["chunks"]:
        assert (chunk["index"], chunk["progress"]["percent"]) == (0, 0)
    assert read["job"]["attempts"][0]["chunkIndex"] == 0


async def test_it_watches_a_job_to_its_end(server: Server, api: Api, kind: str):
    job = await api.create(kind)
    watching = asyncio.create_task(called(server, "WatchJob", {"job_id": job.job_id, "mode": "WATCH_MODE_EVERY"}))
    [claimed] = await api.claim(kind)
    await api.complete(claimed)
    messages = [one for one in await watching if one["type"] != "WATCH_MESSAGE_TYPE_BOOKMARK"]
    assert messages[0]["type"] == "WATCH_MESSAGE_TYPE_SNAPSHOT"
    assert messages[-1]["job"]["state"] == "JOB_STATE_COMPLETED"
    revisions = [int(message["job"]["revision"]) for message in messages]
    assert revisions == list(range(revisions[0], 4))


async def test_it_resumes_a_watch_from_the_cursor_of_a_list(server: Server, api: Api, kind: str):
    job = await api.create(kind)
    [listed] = await called(server, "ListJobs", {"filter": {"kinds": [kind]}})
    mask = {"paths": ["priority"]}
    await api.update(job.job_id, update_mask=mask, priority=9)
    await api.delete(job.job_id, force=True)
    request = {"job_id": job.job_id, "cursor": listed["cursor"], "mode": "WATCH_MODE_EVERY"}
    messages = [one for one in await called(server, "WatchJob", request) if "event" in one]
    assert [one["type"] for one in messages] == ["WATCH_MESSAGE_TYPE_CHANGED", "WATCH_MESSAGE_TYPE_DELETED"]
    assert [change["type"] for change in messages[0]["event"]["changes"]] == ["CHANGE_TYPE_UPDATED"]


async def test_the_details_of_an_error_are_readable(server: Server, kind: str):
    refusal = Refusal.of(await buf_curl(server.target, f"{JOBS}/CreateJob", data={"kind": kind, "priority": 11}))
    assert (refusal.code, refusal.reason, refusal.domain) == ("invalid_argument", "INVALID_FIELD", "jobledger")
    assert list(refusal.fields) == ["priority"]
    assert all(refusal.fields.values())


@pytest.mark.guarantee("3b.7")
async def test_it_shows_a_job_whose_every_value_is_at_its_edge(api: Api, server: Server, kind: str):
    artifact = {"uri": "s3://b/k", "size_bytes": 2**53, "metadata": {"n": [1e308, 5e-324, -0.0, None]}}
    deepest: dict = {}
    for _ in range(23):
        deepest = {"a": deepest}
    job = await api.create(
        kind,
        input=deepest,
        expire_time=Timestamp(seconds=253402300799, nanos=999_999_999),
        stages=[{"name": "s", "weight": 5e-324}],
        retry_policy={"max_attempts": 100, "multiplier": 10, "max_backoff": timedelta(days=1)},
        chunks=[{"item_count": 10**9, "input": deepest}],
    )
    [claimed] = await api.claim(kind, lease_duration=timedelta(days=1))
    await api.report(claimed, percent=5e-324, stage_percent=-0.0, stage="s", items_completed=1)
    await api.complete(claimed, progress={"artifacts": {"a": artifact}, "job_artifacts": {"a": artifact}})
    [got] = await called(server, "GetJob", {"jobId": job.job_id, "view": "JOB_VIEW_FULL"})
    assert got["job"]["expireTime"] == "9999-12-31T23:59:59.999999Z"
    assert got["job"]["artifacts"]["a"]["metadata"] == {"n": [1e308, 5e-324, -0.0, None]}
    assert got["job"]["input"] == deepest
    [listed] = await called(server, "ListJobs", {"filter": {"kinds": [kind]}, "view": "JOB_VIEW_FULL"})
    [attempt] = got["job"]["attempts"]
    assert (attempt["number"], attempt["outcome"]) == (1, "ATTEMPT_OUTCOME_COMPLETED")
    assert listed["jobs"] == [got["job"]]


async def test_it_pauses_and_resumes_a_kind(server: Server, kind: str):
    service = "jobledger.v1.LimitService"
    paused = await buf_curl(server.target, f"{service}/PauseKind", data={"kind": kind, "reason": "deploy"})
    assert paused.code == 0, paused.err
    [message] = paused.messages()
    assert (message["pausedKind"]["kind"], message["pausedKind"]["reason"]) == (kind, "deploy")
    for expected in {"resumed": True}, {}:
        resumed = await buf_curl(server.target, f"{service}/ResumeKind", data={"kind": kind})
        assert (resumed.code, resumed.messages()) == (0, [expected])
