"""Watch messages are put together as bytes: what comes out is what a decoder that did it field by field would make."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobledger.v1 import job_pb2
from jobledger.v1.job_service_pb2 import WatchJobResponse, WatchJobsResponse
from jobledger_service.core.api import convert
from jobledger_service.core.api.codec import MAX_MERGED_BYTES, TOO_MANY, ProtoCodec
from jobledger_service.core.api.convert import encoded_change, fill_chunk
from jobledger_service.core.api.parse import filter_fields
from jobledger_service.core.database.rows.entry import Entry
from jobledger_service.core.database.rows.reads import EventRow
from jobledger_service.core.database.unreadable_rows import UnreadableRows
from jobledger_service.core.model.bounds.sizes import bytes_of_change, bytes_of_chunk, bytes_of_job
from jobledger_service.core.model.filters.filter import FilterFields, changed_fields
from jobledger_service.core.model.history.change import ChangeType, JobDelta
from jobledger_service.core.model.job import Job
from jobledger_service.transport.encoding import joined
from msgspec import json
from msgspec.structs import replace

from tests.codec.jobs import NOW, changes, chunks, deltas, fill_job, jobs
from tests.support.examples import at_most
from tests.support.watching import BOOKMARK, CHANGED, DELETED, LEFT

CURSOR = b"c" * 25
codec = ProtoCodec()
few = at_most(30)  # a delta has many parts to draw


def committed(delta: JobDelta, position: int = 7) -> Entry:
    """Return the entry of a delta as another process reads it from the store."""
    entry = codec.seal(codec.encode(delta, codec.segments(delta.job)), position, NOW, CURSOR)
    fields = entry.before and changed_fields(entry.before, FilterFields.of(delta.job))
    before = fields and json.decode(json.encode(fields))
    read = codec.open(EventRow(position, entry.job_key, entry.stored, before, entry.artifacts))
    assert WatchJobResponse.FromString(read.message) == WatchJobResponse.FromString(entry.message), (
        "what is read is what is fed"
    )
    return read


@few
@given(jobs())
def test_the_segments_of_a_job_join_into_its_message(job: Job):
    whole = job_pb2.Job()
    fill_job(whole, job)
    segments = convert.segments(job)
    assert job_pb2.Job.FromString(b"".join(segments)) == whole
    in_field = b"".join(joined.field(WatchJobResponse.DESCRIPTOR.fields_by_name["job"], one) for one in segments)
    assert WatchJobResponse.FromString(in_field).job == whole


@few
@given(deltas())
def test_an_event_reports_what_the_commit_did(delta: JobDelta):
    entry = committed(delta)
    message = WatchJobResponse.FromString(entry.message)
    job = WatchJobResponse()
    fill_job(job.job, delta.job)
    assert message.job == job.job
    assert (message.type, message.cursor) == (DELETED if delta.deleted else CHANGED, CURSOR)
    event = message.event
    assert (event.position, event.revision, event.commit_time.ToMicroseconds()) == (7, delta.job.revision, NOW)
    assert [change.actor for change in event.changes] == [change.actor for change in delta.changes]
    assert [chunk.index for chunk in message.chunks] == [*delta.chunks]
    assert message == WatchJobResponse.FromString(WatchJobsResponse.FromString(entry.message).SerializeToString()), (
        "one encoding is that of both watches"
    )


@few
@given(deltas())
def test_a_stored_event_is_filtered_as_the_job_was_and_is(delta: JobDelta):
    entry = committed(delta)
    assert entry.is_readable
    assert entry.after == (None if delta.deleted else FilterFields.of(delta.job))
    if delta.before is None:
        assert entry.before is None
    else:
        spec = delta.job.spec  # what a job is from its creation on does not change, and is not stored twice
        same = {"owner": spec.owner, "job_id": spec.job_id, "kind": spec.kind, "create_time": spec.create_time}
        assert entry.before == replace(FilterFields.of(delta.before), **same)


@pytest.mark.guarantee("3a.4")
@few
@given(st.lists(deltas(), min_size=1, max_size=4))
def test_merged_messages_in_view_status_say_how_many_they_are(of_one_job: Sequence[JobDelta]):
    *earlier, latest = [committed(delta, position) for position, delta in enumerate(of_one_job, 1)]
    merged = WatchJobResponse.FromString(codec.merge(latest, earlier, CURSOR, status=True))
    assert (merged.merged_revision_count, merged.cursor) == (len(earlier), CURSOR)


@pytest.mark.guarantee("3a.4")
@few
@given(st.lists(deltas(), min_size=1, max_size=4))
def test_merged_messages_report_all_that_the_last_reports_and_how_many_they_are(of_one_job: Sequence[JobDelta]):
    entries = [committed(delta, position) for position, delta in enumerate(of_one_job, 1)]
    *earlier, latest = entries
    merged = WatchJobResponse.FromString(codec.merge(latest, earlier, CURSOR))
    alone = WatchJobResponse.FromString(latest.message)
    assert merged.merged_revision_count == len(earlier)
    assert (merged.job, merged.event, merged.type, merged.cursor) == (alone.job, alone.event, alone.type, CURSOR)
    reported: dict[int, object] = {}
    for entry in entries:
        reported |= {chunk.index: chunk for chunk in WatchJobResponse.FromString(entry.message).chunks}
    assert {chunk.index: chunk for chunk in merged.chunks} == reported
    assert not merged.chunks_omitted


@few
@given(deltas(), st.integers(1, 3))
def test_a_message_that_would_be_too_large_leaves_out_the_chunks_of_earlier_ones(delta: JobDelta, count: int):
    latest = committed(delta)
    large = replace(latest, chunks=[b"x" * MAX_MERGED_BYTES], chunk_count=1)
    many = replace(latest, chunks=(), chunk_count=TOO_MANY)
    for earlier in ([large] * count, [many] * count):
        merged = WatchJobResponse.FromString(codec.merge(latest, earlier, CURSOR))
        assert merged.chunks_omitted
        assert merged.merged_revision_count == count
        assert list(merged.chunks) == list(WatchJobResponse.FromString(latest.message).chunks)


@few
@given(deltas())
def test_a_message_may_have_another_cursor_and_lose_its_match(delta: JobDelta):
    entry = committed(delta)
    assert WatchJobResponse.FromString(codec.merge(entry, [])).cursor == CURSOR
    assert WatchJobResponse.FromString(codec.merge(entry, [], b"another")).cursor == b"another"
    left = WatchJobResponse.FromString(codec.as_unmatched(entry.message))
    assert left.type == LEFT
    left.type = WatchJobResponse.FromString(entry.message).type
    assert left == WatchJobResponse.FromString(entry.message)


@few
@given(deltas())
def test_the_audit_trail_keeps_the_event_with_the_kind_and_no_mere_progress(delta: JobDelta):
    kept = codec.audited(7, committed(delta).message)
    if all(change.type is ChangeType.PROGRESSED for change in delta.changes):
        assert kept is None
    else:
        assert kept is not None
        whole = WatchJobResponse.FromString(committed(delta).message)
        assert WatchJobResponse.FromString(kept) == WatchJobResponse(event=whole.event, job={"kind": whole.job.kind})


@given(st.binary(min_size=1, max_size=40), st.integers(1, 9))
def test_bytes_that_are_no_event_are_set_aside_and_counted(raw: bytes, position: int):
    unreadable = list[str]()
    careful = ProtoCodec(UnreadableRows(counted=unreadable.append))
    entry = careful.open(EventRow(position, "alice/j", b"\xff" + raw, None))
    assert (entry.position, entry.is_readable, entry.before, entry.after) == (position, False, None, None)
    assert careful.audited(position, b"\xff" + raw) is None
    assert careful.terms(position, b"\xff" + raw) is None
    unknown_type = WatchJobResponse(event={"changes": [{"type": 99}]}).SerializeToString()
    assert careful.terms(position, unknown_type) is None, "a type of change that there is not"
    assert unreadable == ["feed", *["retention"] * 3]


def test_a_bookmark_is_a_cursor_alone():
    message = WatchJobResponse.FromString(codec.bookmark(CURSOR))
    assert message == WatchJobResponse(type=BOOKMARK, cursor=CURSOR)


@few
@given(jobs())
def test_a_filter_sees_in_a_message_what_it_sees_in_the_job(job: object):
    message = WatchJobResponse()
    fill_job(message.job, job)
    assert filter_fields(message.job) == FilterFields.of(job)


@few
@given(jobs(), chunks, changes)
def test_what_is_encoded_is_never_larger_than_it_was_taken_for(job: object, chunk: object, change: object):
    message = WatchJobResponse()
    fill_job(message.job, job)
    assert message.ByteSize() <= bytes_of_job(job)
    of_chunk = WatchJobResponse()
    fill_chunk(of_chunk.chunks.add(), chunk)
    assert of_chunk.ByteSize() <= bytes_of_chunk(chunk)
    of_change = WatchJobResponse()
    of_change.event.changes.add().MergeFromString(encoded_change(change))
    assert of_change.ByteSize() <= bytes_of_change(change)
