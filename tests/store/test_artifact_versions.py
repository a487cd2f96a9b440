"""Artifacts are stored once a change: events refer to their version, and show it as long as they are kept."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import WatchJobResponse
from jobledger_service.core.api.codec import ProtoCodec, whole
from jobledger_service.core.database.rows.entry import JOB_ITSELF
from jobledger_service.core.database.rows.reads import EventRow
from jobledger_service.core.database.tables import artifact_versions, events
from jobledger_service.core.model.chunk import Artifact
from jobledger_service.core.model.filters.filter import JobFilter
from jobledger_service.core.model.job import JobSpec, job_id_of, job_key
from jobledger_service.core.model.lifecycle import NewJob
from jobledger_service.core.model.progress import ProgressReport
from jobledger_service.core.model.states import JobState
from jobledger_service.core.model.work import NO_RESULTS, WorkReport
from jobledger_service.core.write.commands import ClaimedChunk, CompleteChunks, DeleteJob, Heartbeat
from jobledger_service.features.artifacts.family import DeletedJob
from jobledger_service.features.artifacts.store import DeletedArtifacts
from jobledger_service.features.exports.api import job_of
from jobledger_service.features.exports.lines import JsonLines
from jobledger_service.features.exports.store import BEGIN, SqlExportStore
from jobledger_service.features.imports.commands import ImportJobs, JobImport
from jobledger_service.features.imports.imported_job import ImportedJob
from jobledger_service.features.retention.store import SqlHistoryStore
from sqlalchemy import event, func, select, update

from tests.isolation.large_jobs import ALICE, LEASE, LargeLedger, large_ledger
from tests.support.databases import new_database

pytestmark = pytest.mark.fast

KEY = f"{ALICE}/big"
codec = ProtoCodec()


@pytest.fixture
def ledger(store: str, tmp_path: Path) -> Iterator[LargeLedger]:
    with large_ledger(new_database(store, tmp_path)) as opened:
        yield opened


def artifacts(count: int, prefix: str = "out", size: int = 585) -> dict[str, Artifact]:
    """Return so many artifacts, each of 600 bytes encoded if its address has 585."""
    return {f"{prefix}-{n}": Artifact("s3://bucket/".ljust(size, "x"), create_time=7) for n in range(count)}


def report(ledger: LargeLedger, claimed: ClaimedChunk, **fields: object) -> None:
    [answer] = ledger.do(Heartbeat(ALICE, [(claimed.lease, WorkReport(**fields))], lease_duration=LEASE))
    assert answer.status == "OK"


def percent(ledger: LargeLedger, claimed: ClaimedChunk, value: float) -> None:
    report(ledger, claimed, progress=ProgressReport(percent=value))


def stored(ledger: LargeLedger) -> list[EventRow]:
    return list(ledger.reads.events(0, 100, job_key=KEY).rows)


def shown(message: bytes) -> list[str]:
    """Return the names of the artifacts of the job that a message shows."""
    return sorted(WatchJobResponse.FromString(message).job.artifacts)


def held(ledger: LargeLedger) -> list[int]:
    """Return the revisions of the versions that are kept."""
    with ledger.database.read() as connection:
        return sorted(connection.execute(select(artifact_versions.c.revision)).scalars())


def newest_bytes(ledger: LargeLedger) -> int:
    """Return the length of the newest stored event."""
    length = select(func.length(events.c.message)).order_by(events.c.position.desc()).limit(1)
    with ledger.database.read() as connection:
        return connection.execute(length).scalar_one()


def history(ledger: LargeLedger) -> SqlHistoryStore:
    return SqlHistoryStore(ledger.database, codec.audited, codec.terms)


def trim(ledger: LargeLedger, count: int) -> int | None:
    """Trim so many of the oldest events."""
    return history(ledger).trim_events(ledger.now + 1, count)


def exported(ledger: LargeLedger, position: int) -> list[list[str]]:
    """Return the names of the artifacts of each job that an export shows as of a position."""
    lines = JsonLines(["artifacts"], [])
    page = SqlExportStore(ledger.database).export_page(JobFilter(ALICE), position, BEGIN, 10)
    written = [lines.of_job(job) for one in page.shown if (job := job_of(one))]
    return [sorted(json.loads(line)["artifacts"]) for line in written]


def test_a_percent_stores_no_artifacts_again_and_everybody_is_shown_them(ledger: LargeLedger):
    ledger.create("big", [1])
    [claimed] = ledger.claim("big", [0])
    report(ledger, claimed, job_artifacts=artifacts(20))
    changed = ledger.reads.position()
    percent(ledger, claimed, 5)
    names = sorted(artifacts(20))
    [entry] = ledger.commits[-1].entries
    assert sum(map(len, entry.artifacts.values())) >= 20 * 600
    assert newest_bytes(ledger) <= 1_536
    assert newest_bytes(ledger) == len(entry.stored)
    assert len(entry.message) > 20 * 600
    assert shown(entry.message) == names
    resumed = codec.open(stored(ledger)[-1]).message
    assert WatchJobResponse.FromString(resumed) == WatchJobResponse.FromString(entry.message)
    assert held(ledger) == [3]
    percent(ledger, claimed, 6)
    for position in (changed - 1, changed, changed + 1, changed + 2):
        assert exported(ledger, position) == [names if position >= changed else []]
    assert sorted(ledger.job("big").artifacts) == names


def test_a_percent_of_a_chunk_stores_none_of_the_chunk_again(ledger: LargeLedger):
    ledger.create("big", [1, 1])
    [claimed] = ledger.claim("big", [0])
    report(ledger, claimed, artifacts=artifacts(20))
    percent(ledger, claimed, 5)
    [entry] = ledger.commits[-1].entries
    assert newest_bytes(ledger) <= 1_536
    [chunk] = WatchJobResponse.FromString(entry.message).chunks
    assert sorted(chunk.artifacts) == sorted(artifacts(20))
    resumed = codec.open(stored(ledger)[-1])
    assert WatchJobResponse.FromString(resumed.message) == WatchJobResponse.FromString(entry.message)
    assert WatchJobResponse.FromString(b"".join(resumed.chunks)).chunks == [chunk]
    report(ledger, claimed, artifacts=artifacts(20), progress=ProgressReport(percent=6))
    assert held(ledger) == [3], "what is sent again is not stored again"
    assert {len(one.artifacts) for one in ledger.chunks("big").values()} == {0, 20}


def test_a_report_and_the_deletion_of_its_job_are_one_event_with_the_artifacts(ledger: LargeLedger):
    ledger.create("big", [1])
    [claimed] = ledger.claim("big", [0])
    last = WorkReport(artifacts=artifacts(1, "chunk"), job_artifacts=artifacts(1, "job"))
    ledger.batch(
        Heartbeat(ALICE, [(claimed.lease, last)], lease_duration=LEASE), DeleteJob(ALICE, "big", "caller", force=True)
    )
    message = WatchJobResponse.FromString(whole(stored(ledger)[-1]))
    assert (list(message.job.artifacts), list(message.chunks[0].artifacts)) == (["job-0"], ["chunk-0"])
    trim(ledger, 10)
    assert not DeletedArtifacts(ledger.database).trim_versions(10)
    assert held(ledger) == []


@pytest.mark.guarantee("3d.6")
def test_each_event_shows_the_artifacts_that_held_then(ledger: LargeLedger):
    ledger.create("big", [1])
    [claimed] = ledger.claim("big", [0])
    for prefix in ("a", "b"):
        report(ledger, claimed, job_artifacts=artifacts(1, prefix))
        percent(ledger, claimed, 5 if prefix == "a" else 6)
    assert [shown(whole(row)) for row in stored(ledger)] == [
        [],
        [],
        ["a-0"],
        ["a-0"],
        ["a-0", "b-0"],
        ["a-0", "b-0"],
    ]


def test_a_page_ends_by_the_bytes_that_it_has_with_artifacts(ledger: LargeLedger):
    ledger.create("big", [1])
    [claimed] = ledger.claim("big", [0])
    report(ledger, claimed, job_artifacts=artifacts(100, size=5_000))
    for value in range(1, 5):
        percent(ledger, claimed, value)
    read = ledger.reads.events(0, 100, job_key=KEY)
    sizes = [len(whole(row)) for row in read.rows]
    assert not read.complete
    assert sum(sizes[:-1]) < 1024 * 1024 <= sum(sizes)


@pytest.mark.guarantee("3d.6")
def test_versions_go_with_the_last_event_that_needs_them(ledger: LargeLedger):
    ledger.create("big", [1])
    [claimed] = ledger.claim("big", [0])
    for prefix in ("a", "b"):
        report(ledger, claimed, job_artifacts=artifacts(1, prefix))
        percent(ledger, claimed, 5 if prefix == "a" else 6)
    assert held(ledger) == [3, 5]
    assert trim(ledger, 4) == 4
    assert held(ledger) == [3, 5], "the next event shows the job as it was before"
    assert exported(ledger, 4) == [["a-0"]]
    assert trim(ledger, 1) == 5
    assert held(ledger) == [5]
    assert trim(ledger, 10) == 6
    assert held(ledger) == [5], "the job needs it still"
    assert ledger.job("big").artifacts.keys() == {"a-0", "b-0"}
    ledger.do(CompleteChunks(ALICE, [(claimed.lease, WorkReport(), NO_RESULTS)]))
    ledger.do(DeleteJob(ALICE, "big", "caller"))
    assert shown(whole(stored(ledger)[-1])) == ["a-0", "b-0"]
    assert trim(ledger, 10) == 8
    assert held(ledger) == [5]
    assert not DeletedArtifacts(ledger.database).trim_versions(10)
    assert held(ledger) == []


def imported(name: str) -> ImportJobs:
    spec = JobSpec(ALICE, "big", "k", name.encode(), uid_bytes=name.encode() * 16)
    job = ImportedJob(
        new=NewJob(spec, [1]),
        state=JobState.COMPLETED,
        create_time=1_000,
        start_time=2_000,
        end_time=3_000,
        artifacts=artifacts(1, name),
    )
    return ImportJobs([JobImport(job)], "caller")


def test_a_job_that_is_imported_again_has_versions_of_its_own(ledger: LargeLedger):
    for name in ("a", "b"):
        ledger.now += 1
        assert ledger.do(imported(name)) == [True]
        etag = ledger.job("big").etag
        ledger.do(DeleteJob(ALICE, "big", "caller"))
    ledger.now += 1
    ledger.do(imported("c"))
    assert ledger.job("big").etag != etag
    assert [shown(whole(row)) for row in stored(ledger)] == [["a-0"], ["a-0"], ["b-0"], ["b-0"], ["c-0"]]
    assert trim(ledger, 2) == 2
    assert [shown(whole(row)) for row in stored(ledger)] == [["b-0"], ["b-0"], ["c-0"]]
    trim(ledger, 10)
    assert not DeletedArtifacts(ledger.database).trim_versions(10)
    assert sorted(ledger.job("big").artifacts) == ["c-0"]
    assert held(ledger) == [1]


def remove(ledger: LargeLedger, job_id: str) -> str:
    """Delete a job with its artifacts; return the key of the job that deletes these."""
    job = Job.FromString(ledger.do(DeleteJob(ALICE, job_id, "caller", force=True, delete_artifacts=True)))
    return job_key(ALICE, job.job_id)


def uris(ledger: LargeLedger, job: DeletedJob, limit: int) -> list[list[str | None]]:
    """Return the addresses that each read lists, until there are none left."""
    found, place = [], (JOB_ITSELF, 0)
    while place[0] < job.chunk_count:
        listed, place = DeletedArtifacts(ledger.database).listed(job, place, limit)
        found.append([uri for _, uri in listed])
    return found


def test_the_versions_of_a_deleted_job_go_in_bounded_steps_and_no_event_waits_for_them(ledger: LargeLedger):
    ledger.create("big", [1])
    [claimed] = ledger.claim("big", [0])
    for prefix in ("a", "b", "c"):
        report(ledger, claimed, job_artifacts=artifacts(1, prefix), artifacts=artifacts(1, prefix))
    ledger.do(DeleteJob(ALICE, "big", "caller", force=True))
    last = ledger.reads.position()
    assert trim(ledger, 100) == last
    left = [len(held(ledger))]
    while DeletedArtifacts(ledger.database).trim_versions(1):
        left.append(len(held(ledger)))
    assert left == [2, 1, 0, 0], "one a step, until a step finds none"


def test_a_removal_reads_the_last_artifacts_of_a_deleted_job_while_history_and_another_job_of_its_id_go_on(
    ledger: LargeLedger,
):
    ledger.create("big", [1, 1, 1])
    for index in (0, 2):
        [claimed] = ledger.claim("big", [index])
        for prefix in ("a", "b"):
            report(ledger, claimed, artifacts={prefix: Artifact(f"s3://b/{index}/{prefix}"), "x": Artifact(prefix)})
    report(ledger, claimed, job_artifacts={"of": Artifact("s3://b/job")})
    old = ledger.job("big")
    removal = remove(ledger, "big")
    ledger.create("big", [1])
    [claimed] = ledger.claim("big", [0])
    report(ledger, claimed, artifacts={"a": Artifact("s3://b/new")})
    assert trim(ledger, 100) == ledger.reads.position()
    assert not DeletedArtifacts(ledger.database).trim_versions(100), "the removal needs them"
    deleted = DeletedJob(KEY, old.spec.uid_bytes, 3)
    each = ["s3://b/0/a", "b", "s3://b/0/b", "s3://b/2/a", "b", "s3://b/2/b"]
    assert uris(ledger, deleted, 2) == [["s3://b/job", each[0]], each[1:3], each[3:5], each[5:]]
    ledger.do(DeleteJob(ALICE, job_id_of(removal), "caller", force=True))
    assert not DeletedArtifacts(ledger.database).trim_versions(100)
    assert uris(ledger, deleted, 2) == [[]]
    assert uris(ledger, DeletedJob(KEY, ledger.job("big").spec.uid_bytes, 1), 2) == [["s3://b/new"]]


def test_artifacts_that_are_reported_in_the_batch_of_the_deletion_are_removed_too(ledger: LargeLedger):
    ledger.create("big", [1])
    [claimed] = ledger.claim("big", [0])
    uid = ledger.job("big").spec.uid_bytes
    last = WorkReport(artifacts={"x": Artifact("s3://b/x")})
    _, made = ledger.batch(
        Heartbeat(ALICE, [(claimed.lease, last)], lease_duration=LEASE),
        DeleteJob(ALICE, "big", "caller", force=True, delete_artifacts=True),
    )
    assert Job.FromString(made).kind == "jobledger.artifacts"
    assert uris(ledger, DeletedJob(KEY, uid, 1), 20) == [["s3://b/x"]]


def test_artifacts_that_cannot_be_read_are_told_and_the_others_are_listed(ledger: LargeLedger):
    ledger.create("big", [1] * 3)
    for one in ledger.claim("big", range(3)):
        report(ledger, one, artifacts={"x": Artifact(f"s3://b/{one.lease.index}")})
    with ledger.database.write() as connection:
        bad = update(artifact_versions).where(artifact_versions.c.chunk_index == 1).values(content="{")
        connection.execute(bad)
    uid = ledger.job("big").spec.uid_bytes
    assert uris(ledger, DeletedJob(KEY, uid, 3), 20) == [["s3://b/0", None, "s3://b/2"]]


@pytest.mark.guarantee("3b.2")
def test_a_deletion_with_artifacts_reads_none_of_them_however_many_there_are(ledger: LargeLedger):
    counts = []
    for job_id, chunks in (("small", 1), ("big", 300)):
        ledger.create(job_id, [1] * chunks)
        reports = [(one.lease, WorkReport(artifacts=artifacts(3))) for one in ledger.claim(job_id, range(chunks))]
        ledger.do(Heartbeat(ALICE, reports, lease_duration=LEASE))
        sent: list[str] = []
        event.listen(ledger.database.writer, "before_cursor_execute", lambda _c, _r, sql, *_, to=sent: to.append(sql))
        remove(ledger, job_id)
        assert not [sql for sql in sent if "artifact_versions.content" in sql]
        counts.append(ledger.statements)
    assert counts[0] == counts[1]
