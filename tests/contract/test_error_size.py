"""A refusal reaches its caller whole, however much was wrong: what names it fits in the trailers that clients take."""

import grpc
import pytest
from jobledger.v1.filter_pb2 import JobFilter
from jobledger.v1.job_service_pb2 import CreateJobRequest, RetryJobRequest
from jobledger.v1.worker_service_pb2 import HeartbeatRequest, LeaseReport

from tests.support.api import Api
from tests.support.errors import Refusal, assert_entry_refused, invalid, read

BROKEN = {
    "a long label": CreateJobRequest(kind="a", labels={"n" * 100_000: ""}),
    "long labels": CreateJobRequest(kind="a", labels={f"{n}".ljust(2_000, "n"): "" for n in range(60)}),
    "a long kind": CreateJobRequest(kind="K" * 100_000),
    "a long job_id": CreateJobRequest(kind="a", job_id="-" * 100_000),
    "a kind of another script": CreateJobRequest(kind="漢" * 100_000),
    "many stages": CreateJobRequest(kind="a", stages=[{"name": "s" * 1_000, "weight": -1}] * 100),
    "many chunks": CreateJobRequest(kind="a", chunks=[{"item_count": 0}] * 10_000),
}


@pytest.mark.one_store("it is refused before the store is asked")
@pytest.mark.parametrize("name", BROKEN)
async def test_a_creation_of_which_much_is_wrong_is_refused_whole(api: Api, name: str):
    result = await refusal(api.jobs.CreateJob(BROKEN[name]))
    assert (result.code, result.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert result.fields


async def refusal(call: grpc.aio.UnaryUnaryCall) -> Refusal:
    """Return how a call was refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return read(caught.value)


async def test_many_broken_indexes_names_and_states_are_refused_whole(api: Api, kind: str):
    job_id = (await api.create(kind)).job_id
    for call in [
        api.jobs.RetryJob(RetryJobRequest(job_id=job_id, chunk_indexes=[-1] * 10_000)),
        api.batch_get(job_ids=["no job id"] * 500),
        api.list_jobs(filter=JobFilter(states=[99] * 100)),
    ]:
        result = await refusal(call)
        assert (result.code, result.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
        assert result.fields


async def test_many_broken_reports_are_refused_whole(api: Api):
    reports = [LeaseReport(lease_token=f"no token {n}", progress={"artifacts": {"x" * 500: {}}}) for n in range(1_000)]
    result = await refusal(api.work.Heartbeat(HeartbeatRequest(reports=reports)))
    assert (result.code, result.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert "reports[0].lease_token" in result.fields


@pytest.mark.guarantee("3b.1")
@pytest.mark.parametrize("letter", ["s", "漢", "\N{GRINNING FACE}", "\x01"])
async def test_a_stage_that_is_not_in_a_long_plan_is_refused_by_name(api: Api, kind: str, letter: str):
    await api.create(kind, stages=[{"name": f"{n}".ljust(128, letter)} for n in range(100)])
    [claimed] = await api.claim(kind)
    result = await api.report(claimed, stage="another")
    assert_entry_refused(result.error, "progress.stage")


async def test_a_long_job_id_is_refused_whole_in_every_read(api: Api):
    with invalid("filter.search", "filter.search"):
        await api.list_jobs(filter=JobFilter(search="…" * 1_000_000))
    for job_id in ("x" * 100_000, "\x00", "\n", "漢" * 3_000):
        with invalid("job_id"):
            await api.get(job_id)
