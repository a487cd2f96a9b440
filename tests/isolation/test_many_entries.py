"""Of a message with more entries than any may have nothing is decoded; a large one is decoded in parts."""

import grpc
import pytest
from google.protobuf.message import DecodeError, Message
from google.protobuf.struct_pb2 import Struct
from jobledger.v1.bulk_pb2 import CancelJobsRequest
from jobledger.v1.chunk_pb2 import ChunkSpec
from jobledger.v1.import_service_pb2 import ImportedJob, ImportJobsRequest
from jobledger.v1.job_service_pb2 import BatchCreateJobsRequest, CreateJobRequest
from jobledger_service.transport.encoding.fields import MAX_ENTRIES, decode
from jobledger_service.transport.encoding.joined import field
from jobledger_service.transport.refusals import MalformedRequest

from tests.support.api import Api
from tests.support.errors import read

UNDECODABLE = b"\xff"
"""What no message is encoded as."""


def given(message: type[Message], name: str, raw: bytes) -> bytes:
    return field(message.DESCRIPTOR.fields_by_name[name], raw)


def many(message: type[Message], name: str, count: int = MAX_ENTRIES + 1) -> bytes:
    """Return a message with so many entries of a list, of which the first cannot be decoded."""
    return given(message, name, UNDECODABLE) + given(message, name, b"") * (count - 1)


def in_struct(count: int) -> bytes:
    struct = Struct()
    struct["list"] = [True] * count
    return given(BatchCreateJobsRequest, "requests", given(CreateJobRequest, "input", struct.SerializeToString()))


TOO_MANY = {
    "requests": many(BatchCreateJobsRequest, "requests"),
    "requests[1].labels": given(BatchCreateJobsRequest, "requests", UNDECODABLE)
    + given(BatchCreateJobsRequest, "requests", many(CreateJobRequest, "labels")),
    "requests[0].input.fields[0].value.list_value.values": in_struct(MAX_ENTRIES + 1),
}


@pytest.mark.guarantee("3b.1")
@pytest.mark.parametrize(("path", "raw"), TOO_MANY.items(), ids=TOO_MANY.keys())
def test_nothing_is_decoded_of_a_message_with_too_many_entries(path: str, raw: bytes):
    with pytest.raises(MalformedRequest) as caught:
        decode(BatchCreateJobsRequest, raw)
    assert (caught.value.field, caught.value.rule) == (path, f"must have at most {MAX_ENTRIES} entries")


def test_a_large_message_in_parts_is_what_it_is_at_once():
    batch = BatchCreateJobsRequest(validate_only=True)
    for number in range(500):
        request = batch.requests.add(job_id=f"j{number}", kind="k" * 100)
        request.input.update({"list": [number, None, {"deep": [[]]}], "text": "é" * 100})
        request.labels.update({f"key{n}": "v" for n in range(number % 64)})
    batch.requests[7].input["text"] = "x" * 300_000
    batch.requests[8].chunks.extend([ChunkSpec()] * 10_000)
    raw = batch.SerializeToString()
    assert decode(BatchCreateJobsRequest, raw) == batch
    for unknown in (b"\x9d\x06abcd", b"\x99\x06abcdefgh", b"\xa2\x06\x03abc", b"\x98\x06\x07"):
        assert decode(BatchCreateJobsRequest, raw + unknown).SerializeToString().endswith(unknown)


@pytest.mark.parametrize("end", [b"\x0a", b"\x0a\x05a", b"\x0a\x01\xff", b"\x10", b"\x0b\x0c", b"\xff" * 100, b"\x0d"])
def test_a_large_message_that_is_no_message_is_refused(end: bytes):
    raw = BatchCreateJobsRequest(requests=[{"kind": "k" * 50_000}]).SerializeToString()
    for encoded in (raw + end, given(BatchCreateJobsRequest, "requests", given(CreateJobRequest, "kind", raw) + end)):
        with pytest.raises(DecodeError):
            decode(BatchCreateJobsRequest, encoded)


def test_the_longest_lists_that_are_valid_are_decoded():
    longest = [
        CancelJobsRequest(job_ids=[f"job-{n}" for n in range(10_000)]),
        ImportJobsRequest(jobs=[ImportedJob(chunks=[{}] * 10_000)]),
        CreateJobRequest(chunks=[{"item_count": 9}] * 10_000, stages=[{"name": str(n)} for n in range(100)]),
    ]
    shortest = Struct()
    shortest["l"] = [True] * (65_536 // 4)
    longest.append(CreateJobRequest(input=shortest))
    for message in longest:
        assert decode(type(message), message.SerializeToString()) == message


@pytest.mark.guarantee("3b.1")
async def test_the_refusal_names_the_list_and_the_rule_for_one_request_and_in_a_stream(api: Api):
    rule = f"must have at most {MAX_ENTRIES} entries"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.channel.unary_unary("/jobledger.v1.JobService/BatchCreateJobs")(TOO_MANY["requests[1].labels"])
    assert read(caught.value).fields == ["requests[1].labels"]
    assert caught.value.details() == f"requests[1].labels: {rule}"
    stream = iter([given(ImportJobsRequest, "jobs", many(ImportedJob, "chunks"))])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await api.channel.stream_unary("/jobledger.v1.ImportService/ImportJobs")(stream)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert read(caught.value).fields == ["jobs[0].chunks"]
