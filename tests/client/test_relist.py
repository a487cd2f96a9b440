"""Watches of many jobs that begin again because the history after their cursor is gone."""

from queue import Queue
from typing import Any

import grpc
import pytest
from jobledger.v1 import job_service_pb2 as jobs
from jobledger.v1.job_pb2 import Job
from jobledger_client import AsyncJobClient, HistoryLostError, HistoryTrimmedError, JobClient, Relist
from jobledger_client._seen_jobs import SeenJobs

from tests.client.controlled import Played
from tests.client.test_watch_resume import BOOKMARK, CHANGED, DELETED, LEFT, SNAPSHOT, UNAVAILABLE, many
from tests.conftest import StartServer
from tests.support.bounds import BOUND, CALL_TIMEOUT

pytestmark = pytest.mark.one_store("the SDK sees messages, not the store")

OUT_OF_RANGE = grpc.StatusCode.OUT_OF_RANGE
Line = tuple[int, str, int]


class Reader:
    """The caller of a watch: keeps what it hears, in order, until a change of the job "last"."""

    def __init__(self, service: Played, **options: Any) -> None:
        self.heard: Queue[Line] = Queue()
        self.relists: list[tuple[int, Relist]] = []
        self.done = service.start(lambda client: self._read(client, options))

    def _read(self, client: JobClient, options: dict[str, Any]) -> bytes:
        watch = client.watch_jobs(on_relist=self._relisted, **options)
        for message in watch:
            self.heard.put((message.type, message.job.job_id, message.job.revision))
            if message.job.job_id == "last":
                break
        return watch.cursor

    def _relisted(self, relist: Relist) -> None:
        self.relists.append((self.heard.qsize(), relist))

    def lines(self) -> list[Line]:
        self.done.result(BOUND)
        return [self.heard.get_nowait() for _ in range(self.heard.qsize())]


LAST = many(CHANGED, "last", 1, b"z")
BEGINNING = [many(SNAPSHOT, "a", 5), many(SNAPSHOT, "b", 2), many(SNAPSHOT, "c", 1), many(BOOKMARK, cursor=b"c1")]
TOLD = [(SNAPSHOT, "a", 5), (SNAPSHOT, "b", 2), (SNAPSHOT, "c", 1)]


def test_it_reports_what_is_new_and_what_has_gone_and_reports_it(service: Played):
    reader = Reader(service)
    _, stream = service.send("WatchJobs", *BEGINNING)
    service.end(stream, "WatchJobs", UNAVAILABLE)
    assert service.refuse("WatchJobs", OUT_OF_RANGE, "HISTORY_TRIMMED").cursor == b"c1"
    # Meanwhile a was changed, b was not, c was deleted, and d came.
    again = [many(SNAPSHOT, "d", 1), many(SNAPSHOT, "a", 7), many(SNAPSHOT, "b", 2), many(BOOKMARK, cursor=b"y")]
    request, _ = service.send("WatchJobs", *again, LAST)
    assert reader.lines() == [
        *TOLD, (SNAPSHOT, "d", 1), (SNAPSHOT, "a", 7), (LEFT, "c", 0), (CHANGED, "last", 1)
    ]  # fmt: skip
    assert (request.cursor, reader.done.result()) == (b"", b"z")
    [(after, relist)] = reader.relists
    assert after == len(TOLD) + 2  # after the snapshots
    assert isinstance(relist.error, HistoryTrimmedError)
    assert relist.present == {("", "a"), ("", "b"), ("", "d")}


def test_changes_after_the_snapshots_count_as_seen(service: Played):
    reader = Reader(service)
    changes = [many(CHANGED, "a", 6, b"c2"), many(DELETED, "b", 3, b"c3"), many(CHANGED, "new", 1, b"c4")]
    _, stream = service.send("WatchJobs", *BEGINNING, *changes)
    service.end(stream, "WatchJobs", OUT_OF_RANGE, "HISTORY_TRIMMED")
    # Nothing was changed but c, which left.
    service.send("WatchJobs", many(SNAPSHOT, "new", 1), many(SNAPSHOT, "a", 6), many(BOOKMARK, cursor=b"y"), LAST)
    assert reader.lines()[len(TOLD) + len(changes) :] == [(LEFT, "c", 0), (CHANGED, "last", 1)]


def test_a_job_id_that_was_used_again_is_reported_whatever_its_revision(service: Played):
    reader = Reader(service)
    _, stream = service.send("WatchJobs", *BEGINNING)
    service.end(stream, "WatchJobs", OUT_OF_RANGE, "HISTORY_TRIMMED")
    other = many(SNAPSHOT, "b", 2)
    other.job.uid = "another"
    again = [many(SNAPSHOT, "a", 5), other, many(SNAPSHOT, "c", 1), many(BOOKMARK, cursor=b"y")]
    service.send("WatchJobs", *again, LAST)
    assert reader.lines() == [*TOLD, (SNAPSHOT, "b", 2), (CHANGED, "last", 1)]


def test_a_revision_that_a_lost_history_gives_again_is_new_and_what_is_as_before_is_not(service: Played):
    reader = Reader(service)
    _, stream = service.send("WatchJobs", *BEGINNING)
    service.end(stream, "WatchJobs", OUT_OF_RANGE, "HISTORY_LOST")
    again = many(SNAPSHOT, "a", 5)
    again.job.update_time.seconds += 1
    service.send("WatchJobs", again, many(SNAPSHOT, "b", 2), many(BOOKMARK, cursor=b"y"), LAST)
    assert reader.lines() == [*TOLD, (SNAPSHOT, "a", 5), (LEFT, "c", 0), (CHANGED, "last", 1)]
    assert [type(relist.error) for _, relist in reader.relists] == [HistoryLostError]


def test_a_cursor_from_before_is_begun_again_at_once(service: Played):
    reader = Reader(service, cursor=b"old", kinds=["a.b"])
    assert service.refuse("WatchJobs", OUT_OF_RANGE, "HISTORY_TRIMMED").cursor == b"old"
    request, _ = service.send("WatchJobs", many(SNAPSHOT, "a", 5), many(BOOKMARK, cursor=b"y"), LAST)
    assert reader.lines() == [(SNAPSHOT, "a", 5), (CHANGED, "last", 1)]
    assert (request.cursor, list(request.filter.kinds)) == (b"", ["a.b"])
    assert [relist.present for _, relist in reader.relists] == [{("", "a")}]


def test_a_relist_that_breaks_begins_again_and_is_reported_once(service: Played):
    reader = Reader(service)
    _, stream = service.send("WatchJobs", *BEGINNING)
    service.end(stream, "WatchJobs", OUT_OF_RANGE, "HISTORY_TRIMMED")
    _, stream = service.send("WatchJobs", many(SNAPSHOT, "d", 1), many(CHANGED, "a", 6))
    service.end(stream, "WatchJobs", UNAVAILABLE)
    again = [many(SNAPSHOT, "d", 1), many(SNAPSHOT, "a", 6), many(SNAPSHOT, "c", 2), many(BOOKMARK, cursor=b"y")]
    service.send("WatchJobs", *again, LAST)
    assert reader.lines() == [
        *TOLD, (SNAPSHOT, "d", 1), (CHANGED, "a", 6), (SNAPSHOT, "c", 2), (LEFT, "b", 0), (CHANGED, "last", 1)
    ]  # fmt: skip
    assert len(reader.relists) == 1


@pytest.mark.parametrize("reason", ["HISTORY_TRIMMED", "HISTORY_LOST"])
def test_without_relist_it_is_an_error(service: Played, reason: str):
    reader = Reader(service, cursor=b"old", relist=False)
    service.refuse("WatchJobs", OUT_OF_RANGE, reason)
    assert isinstance(reader.done.exception(BOUND), HistoryTrimmedError | HistoryLostError)
    assert reader.relists == []


def test_what_is_remembered_is_bounded_and_what_is_forgotten_is_reported_again():
    seen = SeenJobs(max_jobs=2)
    seen.begin_snapshots()
    for name in "abc":
        assert seen.add(jobs.WatchJobsResponse(type=SNAPSHOT, job=Job(job_id=name, revision=1)))
    assert seen.end_snapshots() == ([], frozenset({("", "a"), ("", "b"), ("", "c")}))
    assert seen.add(jobs.WatchJobsResponse(type=CHANGED, job=Job(job_id="b", revision=2)))
    assert seen.add(jobs.WatchJobsResponse(type=CHANGED, job=Job(job_id="d", revision=1)))
    seen.begin_snapshots()
    new = {
        name: seen.add(jobs.WatchJobsResponse(type=SNAPSHOT, job=Job(job_id=name, revision=revision)))
        for name, revision in {"a": 1, "b": 2, "c": 1, "d": 1}.items()
    }
    assert new == {"a": True, "b": False, "c": True, "d": False}


async def watch_until_refused(client: AsyncJobClient, cursor: bytes) -> None:
    while True:
        async with client.watch_jobs(cursor=cursor, relist=False) as watch:
            await anext(watch)


async def test_against_a_server_that_keeps_no_history(start_server: StartServer, kind: str):
    server = start_server(event_retention="0")
    async with AsyncJobClient(server.target, timeout=CALL_TIMEOUT) as client:
        stays, goes, changed = [(await client.create_job(kind)).job.job_id for _ in range(3)]
        cursor = (await client.list_jobs(kinds=[kind]).page()).cursor
        await client.delete_job(goes, force=True)
        revision = (await client.update_job(changed, priority=9)).revision
        with pytest.raises(HistoryTrimmedError):
            await watch_until_refused(client, cursor)

        relists: list[Relist] = []
        found: dict[str, int] = {}
        async with client.watch_jobs(
            cursor=cursor, kinds=[kind], bookmarks=True, on_relist=relists.append, timeout=CALL_TIMEOUT
        ) as watch:
            async for message in watch:
                if message.type == BOOKMARK:
                    break
                found[message.job.job_id] = message.job.revision
    assert found == {stays: 1, changed: revision}
    assert [type(relist.error) for relist in relists] == [HistoryTrimmedError]
    assert {job_id for _, job_id in relists[0].present} == {stays, changed}
