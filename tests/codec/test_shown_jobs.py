"""A job in a reply is joined from its segments: what a client decodes is what was filled in field by field."""

import pytest
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st
from jobledger.v1.job_service_pb2 import GetJobResponse, WatchJobResponse
from jobledger_service.core.api.codec import ProtoCodec
from jobledger_service.core.api.convert import fill_chunk, segments
from jobledger_service.core.api.shown_jobs import job_field, shown_job, shown_job_field
from jobledger_service.core.database.rows.reads import JobRead
from jobledger_service.core.model.chunk import Chunk
from jobledger_service.core.model.job import Inputs, Job
from jobledger_service.core.model.refusals.errors import JobUnreadable
from msgspec.structs import replace

from tests.codec.jobs import chunks, fill_job, jobs
from tests.support.examples import at_most

INPUT = Struct()
INPUT.update({"film": "été.mp4", "frames": [1, 2.5, None, True]})
codec = ProtoCodec()
RAW = INPUT.SerializeToString()
few = at_most(20)


def read_of(job: Job) -> JobRead:
    """Return a job as the store reads it."""
    fixed, artifacts, moving = segments(job)
    return JobRead(
        key=job.key,
        state=job.state,
        revision=job.revision,
        create_time=job.spec.create_time,
        priority=job.priority,
        parked_for=job.parked_for,
        chunk_count=job.counts.total,
        message=fixed + moving + artifacts,
        size=len(fixed + artifacts + moving),
    )


@few
@given(
    jobs(), st.lists(chunks, max_size=2), st.booleans(), st.none() | st.integers(1, 9), st.sampled_from(["", "token"])
)
def test_a_reply_reports_what_one_reports_that_is_filled_in(
    job: Job, some: list[Chunk], has_input: bool, place: int | None, token: str
):
    whole = GetJobResponse()
    fill_job(whole.job, job)
    inputs = Inputs(RAW if has_input else None, {chunk.index: RAW for chunk in some[:1]})
    if has_input:
        whole.job.input.CopyFrom(INPUT)
    for chunk in some:
        fill_chunk(whole.job.chunks.add(), chunk, inputs.chunks.get(chunk.index))
    for hold in whole.job.holds if place is not None else ():
        hold.place = place
    whole.job.next_chunks_page_token = token
    read = replace(read_of(job), inputs=inputs, chunks=some, place=place, next_chunks=token)
    assert GetJobResponse.FromString(job_field(read)) == whole
    assert GetJobResponse.FromString(shown_job_field(read)) == whole
    assert shown_job(read)[0] == whole.job
    snapshot = WatchJobResponse.FromString(codec.snapshot(replace(read, next_chunks=""), b""))
    whole.job.next_chunks_page_token = ""
    assert snapshot.job == whole.job
    MessageToJson(snapshot)


@pytest.mark.guarantee("3b.4")
@few
@given(jobs(), jobs(), st.data())
def test_a_damaged_segment_is_found_before_it_goes_out(job: Job, other: Job, data: st.DataObject):
    fixed, _, moving = segments(job)
    cut = data.draw(st.integers(1, len(moving) - 1))
    damaged = [
        segments(replace(other, spec=replace(other.spec, job_id="another"))).fixed + moving,
        fixed + segments(replace(job, revision=job.revision + 1)).moving,
        fixed + moving.replace(job.etag.encode(), b"\xff" * len(job.etag)),
        fixed,
        fixed + moving[:cut] + b"\xff\xff\xff",
    ]
    for message in damaged:
        read = replace(read_of(job), message=message)
        for show in (job_field, shown_job_field, shown_job):
            with pytest.raises((ValueError, DecodeError)):
                show(read)
        with pytest.raises(JobUnreadable):
            codec.snapshot(read, b"")
