"""Hostile input is taken and given back as it was, or refused by name: never INTERNAL, never something else stored."""

import math

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from jobledger.v1.filter_pb2 import JobFilter
from jobledger.v1.job_pb2 import JobView
from jobledger.v1.job_service_pb2 import CancelJobRequest, CreateJobRequest, ListChunksRequest, ListJobsRequest
from jobledger.v1.worker_service_pb2 import HeartbeatRequest, LeaseReport, LeaseStatus
from jobledger_service.core.model.filters.search import MAX_SEARCH_WORDS, words

from tests.support.api import Api
from tests.support.errors import assert_entry_refused, invalid, read

INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
TEXTS = [
    "\x00", "a\x00b", "\x7f", "\r\n", "\u2028", "\ufeff", "\ufffe", "\U0010ffff", "e\u0301", "\u0130\u0131\u017f\u212a",
    "\u202eabc", "%s%n{0}", "'; DROP TABLE jobs; --", '"', "\\", "%", "_", " ", "NULL", "x" * 1_024, "👩\u200d👧" * 100,
]  # fmt: skip
METHODS = ["JobService/CreateJob", "JobService/WatchJob", "WorkerService/Heartbeat"]


async def given_back(api: Api, kind: str, given: Struct) -> bool:
    """Say whether an input is stored as it was; False when it is refused by name."""
    try:
        job = await api.create(kind, input=given)
    except grpc.aio.AioRpcError as error:
        output = read(error)
        assert (output.code, output.fields) == (INVALID_ARGUMENT, ["input"])
        return False
    return (await api.get(job.job_id)).input.SerializeToString() == given.SerializeToString()


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
async def test_a_text_is_given_back_as_it_was_or_refused_by_name(api: Api, kind: str, text: str):
    try:
        job = await api.create(kind, display_name=text, labels={"a": text[:255]}, input={text: text})
    except grpc.aio.AioRpcError as error:
        output = read(error)
        assert (output.code, output.reason) == (INVALID_ARGUMENT, "INVALID_FIELD")
        assert set(output.fields) <= {"display_name", 'labels["a"]', "input"}
        return
    stored = await api.get(job.job_id)
    assert (stored.display_name, stored.labels["a"], dict(stored.input)) == (text, text[:255], {text: text})
    searched = text[:256] if 0 < len(words(text[:256])) <= MAX_SEARCH_WORDS else ""
    wanted = JobFilter(kinds=[kind], search=searched, labels={"a": text[:255]})
    found = (await api.list_jobs(filter=wanted)).jobs
    assert [one.job_id for one in found] == [job.job_id]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
async def test_the_words_of_a_worker_are_given_back_as_they_were_or_refused_by_name(api: Api, kind: str, text: str):
    job = await api.create(kind)
    [claimed] = await api.claim(kind, worker="w")
    result = await api.report(claimed, message=text, stage=text[:128])
    if result.status == LeaseStatus.LEASE_STATUS_REFUSED:
        fields = {violation.field for violation in result.error.field_violations}
        assert_entry_refused(result.error, *fields)
        assert fields <= {"progress.message", "progress.stage"}
        return
    progress = (await api.get(job.job_id)).chunks[0].progress
    assert (progress.message, progress.stage) == (text, text[:128])


@pytest.mark.parametrize("number", [1e308, 5e-324, -0.0, 2**53 + 1])
async def test_a_number_is_given_back_to_the_last_bit(api: Api, kind: str, number: float):
    given = Struct()
    given.fields["n"].number_value = number
    assert await given_back(api, kind, given)


def nested(levels: int) -> Struct:
    """Return objects within one another, so many."""
    outer = inner = Struct()
    for _ in range(levels - 1):
        inner.fields["a"].struct_value.SetInParent()
        inner = inner.fields["a"].struct_value
    return outer


def listed(*numbers: float) -> Struct:
    """Return {"losses": [...]}."""
    given = Struct()
    for number in numbers:
        given.fields["losses"].list_value.values.add().number_value = number
    return given


def unset() -> Struct:
    """Return a Struct with a value of no kind, which JSON of other languages refuses."""
    given = Struct()
    given.fields["odd key"].list_value.values.add()
    return given


BAD_STRUCTS = [
    (listed(0.5, math.nan), ".losses[1]"),
    (listed(math.inf), ".losses[0]"),
    (listed(-math.inf), ".losses[0]"),
    (nested(25), ".a" * 24),
    (unset(), '["odd key"][0]'),
]


@pytest.mark.one_store("it is refused before the store is asked")
@pytest.mark.parametrize(("given", "path"), BAD_STRUCTS, ids=range(len(BAD_STRUCTS)))
async def test_what_a_struct_cannot_hold_is_refused_with_its_path(api: Api, kind: str, given: Struct, path: str):
    with invalid(f"input{path}"):
        await api.create(kind, input=given)
    with invalid(f"chunks[1].input{path}"):
        await api.create(kind, chunks=[{}, {"input": given}])
    await api.create(kind)
    [claimed] = await api.claim(kind)
    artifact = {"uri": "s3://b/k", "metadata": given}
    report = LeaseReport(lease_token=claimed.lease.token, progress={"artifacts": {"a": artifact}})
    [result] = (await api.work.Heartbeat(HeartbeatRequest(reports=[report]))).results
    assert_entry_refused(result.error, f'progress.artifacts["a"].metadata{path}')
    [ended] = await api.complete(claimed, progress={"job_artifacts": {"a": artifact}})
    assert_entry_refused(ended.error, f'progress.job_artifacts["a"].metadata{path}')
    [result] = await api.complete(claimed)
    assert result.status == LeaseStatus.LEASE_STATUS_OK


async def test_the_deepest_struct_is_shown_everywhere(api: Api, kind: str):
    deepest = nested(24)
    job = await api.create(kind, input=deepest, chunks=[{"input": deepest}])
    [claimed] = await api.claim(kind)
    assert (claimed.job_input, claimed.chunk.input) == (deepest, deepest)
    artifacts = {"a": {"uri": "s3://b/k", "metadata": deepest}}
    await api.complete(claimed, progress={"artifacts": artifacts, "job_artifacts": artifacts})
    read = await api.get(job.job_id)
    assert (read.input, read.chunks[0].input, read.artifacts["a"].metadata) == (deepest, deepest, deepest)
    request = ListJobsRequest(filter={"kinds": [kind]}, view=JobView.JOB_VIEW_FULL)
    page = await api.jobs.ListJobs(request)
    assert page.jobs[0] == read
    async with api.watch_jobs(kind) as watch:
        assert (await watch.change()).job.artifacts["a"].metadata == deepest


async def test_fields_that_struct_has_not_are_dropped(api: Api, kind: str):
    group = b"\x23" * 90 + b"\x24" * 90  # field 4: groups, 90 deep, which no reply could hold
    with_unknown = CreateJobRequest(kind=kind).SerializeToString() + b"\x32\xb4\x01" + group
    call = api.channel.unary_unary("/jobledger.v1.JobService/CreateJob")
    await call(with_unknown)
    [claimed] = await api.claim(kind)
    assert claimed.HasField("job_input")
    assert not claimed.job_input.SerializeToString()


async def test_numbers_at_their_ends_are_refused_by_name(api: Api, kind: str):
    for field, value in [
        ("priority", 2**31 - 1),
        ("priority", -(2**31)),
        ("item_count", 2**63 - 1),
        ("item_count", -(2**63)),
    ]:
        broken = {field: value} | ({"chunk_size": 10**9} if field == "item_count" else {})
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await api.create(kind, **broken)
        output = read(caught.value)
        assert (output.code, output.reason) == (INVALID_ARGUMENT, "INVALID_FIELD")
        assert field in output.fields


async def test_a_page_of_the_largest_size_is_taken_as_the_most(api: Api, kind: str):
    job = await api.create(kind)
    request = ListChunksRequest(job_id=job.job_id, page_size=2**31 - 1)
    assert len((await api.jobs.ListChunks(request)).chunks) == 1


@pytest.mark.one_store("it is refused before the store is asked")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("raw", [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe", b"\x0b" * 200])
async def test_bytes_that_are_no_message_are_invalid(api: Api, method: str, raw: bytes):
    call = api.channel.unary_unary(f"/jobledger.v1.{method}")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(raw)
    assert caught.value.code() == INVALID_ARGUMENT
    assert "google.protobuf" not in str(caught.value.details())


async def test_fields_that_the_contract_has_not_are_ignored(api: Api, kind: str):
    job = await api.create(kind)
    unknown = b"\xfa\xff\xff\x7f\x03abc"
    call = api.channel.unary_unary("/jobledger.v1.JobService/CancelJob")
    await call(CancelJobRequest(job_id=job.job_id).SerializeToString() + unknown)
    assert (await api.get(job.job_id)).revision == 2
