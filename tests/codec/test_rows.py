"""Jobs and chunks as rows, and back; what earlier versions wrote can be read."""

from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from jobledger.v1 import chunk_pb2, job_pb2
from jobledger_service.core.api.message_functions import target_of
from jobledger_service.core.database.cells import artifacts_text
from jobledger_service.core.database.rows.chunk_rows import (
    CHUNK_COLUMNS,
    chunk_of,
    chunk_row,
    is_steady_chunk,
    new_chunk_row,
    steady_chunk_row,
)
from jobledger_service.core.database.rows.job_rows import (
    JOB_COLUMNS,
    is_steady_job,
    job_of,
    job_row,
    new_job_row,
    read_current,
    steady_job_row,
)
from jobledger_service.core.database.tables import chunks as chunks_table
from jobledger_service.core.database.tables import jobs as jobs_table
from jobledger_service.core.model.chunk import Chunk
from jobledger_service.core.model.fields import CHUNK_FIELDS, JOB_FIELDS, Field, Kept
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.job_progress import Rate
from msgspec import msgpack
from msgspec.structs import replace
from sqlalchemy import Table

from tests.codec.jobs import chunks, jobs

rates = st.none() | st.builds(Rate, since=st.integers(0, 9), at=st.integers(0, 9), items=st.floats(0, 9))


@given(jobs(), rates, st.lists(st.text()), st.binary())
def test_a_job_is_read_as_it_was_written(job: Job, rate: Rate | None, slots: list[str], fingerprint: bytes):
    progress = replace(job.progress, rate=rate)
    job = replace(job, progress=progress, slots=tuple(slots), spec=replace(job.spec, fingerprint=fingerprint))
    row = new_job_row(job, None) | {"content": artifacts_text(job.artifacts)}
    assert job_of([row[column.name] for column in JOB_COLUMNS]) == job


@given(jobs(), chunks)
def test_a_chunk_is_read_as_it_was_written(job: Job, chunk: Chunk):
    row = new_chunk_row(job, chunk, None) | {"content": artifacts_text(chunk.artifacts)}
    assert chunk_of([row[column.name] for column in CHUNK_COLUMNS]) == chunk


@given(jobs(), chunks)
def test_a_change_writes_nothing_that_never_changes(job: Job, chunk: Chunk):
    fixed = (Kept.FIXED, Kept.SETTLED)
    for row, fields in ((job_row(job), JOB_FIELDS), (chunk_row(job, chunk), CHUNK_FIELDS)):
        assert row.keys() & {field.name for field in fields if field.kept in fixed} == set()
        assert "settled" not in row
        assert row.keys() >= {field.name for field in fields if field.kept in (Kept.KEY, Kept.COLUMN, Kept.STEADY)}


@given(jobs())
def test_a_body_without_its_last_fields_has_their_defaults(job: Job):
    values = msgpack.decode(job_row(job)["current"])
    names = [field.name for field in JOB_FIELDS if field.kept is Kept.CURRENT]
    assert len(values) == len(names)
    short, empty = read_current(msgpack.encode(values[:2])), read_current(msgpack.encode([]))
    assert [getattr(short, name) for name in names[:2]] == [job.display_name, job.progress.stage]
    assert [getattr(short, name) for name in names[2:]] == [getattr(empty, name) for name in names[2:]]


def test_the_places_of_a_body_stay():
    """Stored rows have these fields at these places: new ones come last."""

    def kept(fields: tuple[Field, ...], how: Kept) -> list[str]:
        return [field.name for field in fields if field.kept is how]

    settled = "fingerprint retry_policy failure_policy stages traceparent"
    current = (
        "display_name stage message rate labels stage_timings cancel_reason declared_result first_failure"
        " expires_by_rule slots"
    )
    assert kept(JOB_FIELDS, Kept.SETTLED)[:5] == settled.split()
    assert kept(JOB_FIELDS, Kept.CURRENT)[:11] == current.split()
    assert kept(CHUNK_FIELDS, Kept.CURRENT)[:4] == ["message", "error", "start_time", "lease_duration"]


def test_each_field_of_the_contract_is_one_of_the_tables():
    def shown(message: type[Message], fields: tuple[Field, ...]) -> set[str]:
        return {target[0] for field in fields if (target := target_of(message.DESCRIPTOR, field))}

    of_job, of_chunk = shown(job_pb2.Job, JOB_FIELDS), shown(chunk_pb2.Chunk, CHUNK_FIELDS)
    for message, prefix in ((job_pb2.Progress, "progress."), (job_pb2.ChunksSummary, "chunks_summary.")):
        assert of_job >= {prefix + name for name in message.DESCRIPTOR.fields_by_name}
    assert of_chunk >= {f"progress.{name}" for name in chunk_pb2.ChunkProgress.DESCRIPTOR.fields_by_name}
    read_apart = {"input", "output", "chunks", "attempts", "next_chunks_page_token"}
    assert {name.partition(".")[0] for name in of_job} | read_apart == set(job_pb2.Job.DESCRIPTOR.fields_by_name)
    assert {name.partition(".")[0] for name in of_chunk} | {"input", "output"} == set(
        chunk_pb2.Chunk.DESCRIPTOR.fields_by_name
    )


@given(jobs(), chunks, chunks)
def test_what_a_steady_row_leaves_out_is_the_same_as_before(job: Job, before: Chunk, after: Chunk):
    own = {n: getattr(before, n) for n in _steady(CHUNK_FIELDS) if not isinstance(getattr(Chunk, n), property)}
    # what `lease_check_time` follows from
    own |= {"lease_expire_time": before.lease_expire_time, "lease_duration": before.lease_duration}
    after = replace(after, **own)
    assert is_steady_chunk(before, after)
    old, new, written = chunk_row(job, before), chunk_row(job, after), steady_chunk_row(after)
    assert written.items() <= new.items()
    assert {name: new[name] for name in new.keys() - written.keys()} == {
        name: old[name] for name in old.keys() - written.keys()
    }
    assert not is_steady_chunk(before, replace(after, fence=after.fence + 1))


@given(jobs(), jobs())
def test_what_a_steady_row_of_a_job_leaves_out_is_the_same_as_before(before: Job, after: Job):
    own = {name: getattr(before, name) for name in _steady(JOB_FIELDS) if not isinstance(getattr(Job, name), property)}
    after = replace(after, **own, spec=before.spec, counts=before.counts)  # what `claimable` follows from
    assert is_steady_job(before, after)
    old, new, written = job_row(before), job_row(after), steady_job_row(after)
    assert written.items() <= new.items()
    assert {name: new[name] for name in new.keys() - written.keys()} == {
        name: old[name] for name in old.keys() - written.keys()
    }
    assert not is_steady_job(before, replace(after, retry_count=after.retry_count + 1))


def _steady(fields: tuple[Field, ...]) -> list[str]:
    return [field.path for field in fields if field.kept is Kept.STEADY]


@given(jobs(), chunks)
def test_progress_is_written_to_one_index_of_its_job_and_none_of_its_chunk(job: Job, chunk: Chunk):
    """SQLite writes to each index that has a column of the statement, whether its value changes or not."""

    def written(table: Table, row: dict[str, object]) -> set[str]:
        names = row.keys() - {column.name for column in table.primary_key}
        columns = {str(index.name): {column.name for column in index.columns} for index in table.indexes}
        return {name for name, of_index in columns.items() if of_index & names}

    assert written(jobs_table, steady_job_row(job)) == {"jobs_by_update_time"}
    assert written(chunks_table, steady_chunk_row(chunk)) == set()
