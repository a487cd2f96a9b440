"""Watches that go on over reconnects, each once and in order."""

from collections.abc import Iterator
from datetime import timedelta
from queue import Queue
from typing import Any

import grpc
import pytest
from jobledger.v1 import job_service_pb2 as jobs
from jobledger.v1.job_pb2 import Job
from jobledger_client import (
    DeadlineExceededError,
    HistoryLostError,
    HistoryTrimmedError,
    JobClient,
    JobledgerError,
    JobNotFoundError,
    JobState,
    JobView,
    UnauthenticatedError,
    UnavailableError,
    WatchMessageType,
    WatchMode,
)

from tests.client.controlled import Played
from tests.support.bounds import BOUND

SNAPSHOT = WatchMessageType.SNAPSHOT
CHANGED = WatchMessageType.CHANGED
LEFT = WatchMessageType.LEFT
DELETED = WatchMessageType.DELETED
BOOKMARK = WatchMessageType.BOOKMARK
RUNNING, COMPLETED = JobState.RUNNING, JobState.COMPLETED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def one(kind: int, revision: int = 0, cursor: bytes = b"", state: int = RUNNING) -> jobs.WatchJobResponse:
    job = Job(job_id="one", revision=revision, state=state) if revision else None
    return jobs.WatchJobResponse(type=kind, cursor=cursor, job=job)


def many(kind: int, job_id: str = "", revision: int = 0, cursor: bytes = b"") -> jobs.WatchJobsResponse:
    job = Job(job_id=job_id, revision=revision) if job_id else None
    return jobs.WatchJobsResponse(type=kind, cursor=cursor, job=job)


def revisions(watch: Iterator[Any]) -> list[int]:
    return [message.job.revision for message in watch]


def finish(stream: Any) -> None:
    stream.terminate((), grpc.StatusCode.OK, "")


@pytest.mark.parametrize("code", [grpc.StatusCode.OK, UNAVAILABLE])
def test_a_watch_ends_after_the_terminal_message_whatever_ends_its_stream(service: Played, code: grpc.StatusCode):
    got = service.start(lambda client: revisions(client.watch("one")))
    request, stream = service.send(
        "WatchJob", one(SNAPSHOT, 1, b"c1"), one(CHANGED, 2, b"c2"), one(CHANGED, 3, b"c3", COMPLETED)
    )
    service.end(stream, "WatchJob", code)
    assert got.result() == [1, 2, 3]
    assert (request.job_id, request.cursor) == ("one", b"")
    assert service.channel.timeouts == [None]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (UNAVAILABLE, ""),
        (UNAVAILABLE, "DRAINING"),
        (UNAVAILABLE, "STORE_UNAVAILABLE"),
        (grpc.StatusCode.INTERNAL, ""),  # RST_STREAM, as HTTP/2 has it
        (grpc.StatusCode.CANCELLED, ""),
        (grpc.StatusCode.UNKNOWN, ""),
        (grpc.StatusCode.OK, ""),  # a good end, though too early
    ],
)
def test_a_broken_stream_continues_from_its_last_cursor(service: Played, code: grpc.StatusCode, reason: str):
    got = service.start(lambda client: revisions(client.watch("one")))
    _, stream = service.send("WatchJob", one(SNAPSHOT, 1, b"c1"), one(CHANGED, 2, b"c2"))
    service.end(stream, "WatchJob", code, reason)
    request, stream = service.send("WatchJob", one(CHANGED, 3, b"c3", COMPLETED))
    finish(stream)
    assert got.result() == [1, 2, 3]
    assert request.cursor == b"c2"
    assert service.time.slept == pytest.approx([0.075])


def test_bookmarks_move_the_cursor_and_stay_unseen(service: Played):
    got = service.start(lambda client: revisions(client.watch("one")))
    _, stream = service.send("WatchJob", one(SNAPSHOT, 1, b"c1"), one(BOOKMARK, cursor=b"b9"))
    service.end(stream, "WatchJob", UNAVAILABLE)
    request, stream = service.send("WatchJob", one(CHANGED, 2, b"c10", COMPLETED))
    finish(stream)
    assert (got.result(), request.cursor) == ([1, 2], b"b9")


def test_bookmarks_are_seen_when_asked_for(service: Played):
    got = service.start(lambda client: [message.cursor for message in client.watch("one", bookmarks=True)])
    _, stream = service.send(
        "WatchJob", one(SNAPSHOT, 1, b"c1"), one(BOOKMARK, cursor=b"b9"), one(CHANGED, 2, b"d", COMPLETED)
    )
    finish(stream)
    assert got.result() == [b"c1", b"b9", b"d"]


def test_a_watch_from_an_old_cursor_continues_over_an_earlier_end(service: Played):
    got = service.start(lambda client: revisions(client.watch("one", cursor=b"old")))
    request, stream = service.send(
        "WatchJob",
        one(CHANGED, 4, b"c4", JobState.FAILED),
        one(CHANGED, 5, b"c5", JobState.QUEUED),
        one(CHANGED, 6, b"c6", COMPLETED),
    )
    finish(stream)
    assert (request.cursor, got.result()) == (b"old", [4, 5, 6])


def test_a_watch_from_a_cursor_past_the_end_of_the_job_ends(service: Played):
    got = service.start(lambda client: revisions(client.watch("one", cursor=b"past")))
    _, stream = service.send("WatchJob", one(BOOKMARK, cursor=b"past"))
    finish(stream)
    assert got.result(BOUND) == []


def test_deleted_is_the_last_message(service: Played):
    got = service.start(lambda client: [message.type for message in client.watch("one")])
    _, stream = service.send("WatchJob", one(SNAPSHOT, 1, b"c1"), one(DELETED, 2, b"c2"))
    finish(stream)
    assert got.result() == [SNAPSHOT, DELETED]


def test_waits_grow_while_nobody_answers_and_start_again_after_a_message(service: Played):
    got = service.start(lambda client: revisions(client.watch("one")))
    _, stream = service.send("WatchJob", one(SNAPSHOT, 1, b"c1"))
    service.end(stream, "WatchJob", UNAVAILABLE)
    service.refuse("WatchJob", UNAVAILABLE)
    service.refuse("WatchJob", UNAVAILABLE)
    _, stream = service.send("WatchJob", one(CHANGED, 2, b"c2"))
    service.end(stream, "WatchJob", UNAVAILABLE)
    _, stream = service.send("WatchJob", one(CHANGED, 3, b"c3", COMPLETED))
    finish(stream)
    assert got.result() == [1, 2, 3]
    assert service.time.slept == pytest.approx([0.075, 0.15, 0.3, 0.075])


def test_a_watch_that_never_began_gives_up_as_a_call_does(service: Played):
    got = service.start(lambda client: revisions(client.watch("one")))
    while not got.done():
        service.refuse("WatchJob", UNAVAILABLE)
        service.time.now += 3  # each attempt took a while to fail
        if service.time.now > 1_010:
            break
    assert isinstance(got.exception(), UnavailableError)
    assert service.time.now < 1_016


def test_a_watch_that_began_waits_for_a_server_to_come_back(service: Played):
    got = service.start(lambda client: revisions(client.watch("one", reconnect_timeout=timedelta(seconds=100))))
    _, stream = service.send("WatchJob", one(SNAPSHOT, 1, b"c1"))
    service.end(stream, "WatchJob", UNAVAILABLE)
    for _ in range(20):
        service.refuse("WatchJob", UNAVAILABLE)
    assert service.time.now > 1_050
    _, stream = service.send("WatchJob", one(CHANGED, 2, b"c2", COMPLETED))
    finish(stream)
    assert got.result() == [1, 2]


def test_the_timeout_limits_the_whole_watch(service: Played):
    got = service.start(lambda client: revisions(client.watch("one", timeout=timedelta(seconds=1.0))))
    _, stream = service.send("WatchJob", one(SNAPSHOT, 1, b"c1"))
    service.end(stream, "WatchJob", UNAVAILABLE)
    _, _, stream = service.take("WatchJob")
    assert service.channel.timeouts == pytest.approx([1.0, 0.925])
    service.end(stream, "WatchJob", grpc.StatusCode.DEADLINE_EXCEEDED)
    assert isinstance(got.exception(), DeadlineExceededError)


def test_an_outage_that_outlasts_the_timeout_is_a_timeout(service: Played):
    got = service.start(lambda client: revisions(client.watch("one", timeout=timedelta(seconds=0.1))))
    service.refuse("WatchJob", UNAVAILABLE)
    service.refuse("WatchJob", UNAVAILABLE)
    assert isinstance(got.exception(), DeadlineExceededError)


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (grpc.StatusCode.OUT_OF_RANGE, "HISTORY_TRIMMED", HistoryTrimmedError),
        (grpc.StatusCode.OUT_OF_RANGE, "HISTORY_LOST", HistoryLostError),
        (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND", JobNotFoundError),
        (grpc.StatusCode.UNAUTHENTICATED, "", UnauthenticatedError),
    ],
)
def test_what_no_reconnect_cures_is_raised(
    service: Played, code: grpc.StatusCode, reason: str, expected: type[JobledgerError]
):
    got = service.start(lambda client: revisions(client.watch_jobs(cursor=b"c", relist=False)))
    service.refuse("WatchJobs", code, reason)
    assert type(got.exception()) is expected
    assert service.time.slept == []


def test_a_job_watch_shows_its_cursor(service: Played):
    watch = service.client.watch("one", cursor=b"c0")
    assert watch.cursor == b"c0"
    got = service.start(lambda client: next(watch).job.revision)
    service.send("WatchJob", one(CHANGED, 1, b"c1"))
    assert (got.result(), watch.cursor) == (1, b"c1")
    watch.close()
    assert list(watch) == []


def test_first_snapshots_that_break_begin_again_and_repeat_nothing(service: Played):
    seen: Queue[tuple[int, str, int]] = Queue()

    def read(client: JobClient) -> None:
        for message in client.watch_jobs(kinds=["a.b"]):
            seen.put((message.type, message.job.job_id, message.job.revision))
            if message.type == CHANGED:
                break

    got = service.start(read)
    _, stream = service.send("WatchJobs", many(SNAPSHOT, "a", 5), many(SNAPSHOT, "b", 2), many(SNAPSHOT, "c", 1))
    service.end(stream, "WatchJobs", UNAVAILABLE)
    # Meanwhile a was changed, b was not, c went away, and d came.
    request, stream = service.send(
        "WatchJobs",
        many(SNAPSHOT, "d", 1),
        many(SNAPSHOT, "a", 6),
        many(SNAPSHOT, "b", 2, b"c8"),
        many(BOOKMARK, cursor=b"c9"),
        many(CHANGED, "b", 3, b"c10"),
    )
    got.result()
    assert (request.cursor, list(request.filter.kinds)) == (b"", ["a.b"])
    expected = [
        (SNAPSHOT, "a", 5),
        (SNAPSHOT, "b", 2),
        (SNAPSHOT, "c", 1),
        (SNAPSHOT, "d", 1),
        (SNAPSHOT, "a", 6),
        (LEFT, "c", 0),
        (CHANGED, "b", 3),
    ]
    assert [seen.get_nowait() for _ in range(seen.qsize())] == expected


def test_snapshots_that_break_go_on_from_their_last_cursor(service: Played):
    def read(client: JobClient) -> list[tuple[int, str, int]]:
        messages = client.watch_jobs()
        found = zip(range(4), messages, strict=False)
        return [(message.type, message.job.job_id, message.job.revision) for _, message in found]

    got = service.start(read)
    _, stream = service.send("WatchJobs", many(SNAPSHOT, "a", 5, b"c1"), many(SNAPSHOT, "b", 2, b"c2"))
    service.end(stream, "WatchJobs", UNAVAILABLE)
    request, _ = service.send(
        "WatchJobs", many(SNAPSHOT, "c", 2, b"c3"), many(BOOKMARK, cursor=b"c4"), many(CHANGED, "a", 6, b"c5")
    )
    assert request.cursor == b"c2"
    assert got.result() == [(SNAPSHOT, "a", 5), (SNAPSHOT, "b", 2), (SNAPSHOT, "c", 2), (CHANGED, "a", 6)]


def test_after_the_first_cursor_a_watch_of_many_resumes_from_it(service: Played):
    def read(client: JobClient) -> list[tuple[str, int]]:
        messages = client.watch_jobs()
        return [(message.job.job_id, message.job.revision) for message, _ in zip(messages, range(3), strict=False)]

    got = service.start(read)
    _, stream = service.send(
        "WatchJobs", many(SNAPSHOT, "a", 1), many(BOOKMARK, cursor=b"c1"), many(CHANGED, "a", 2, b"c2")
    )
    service.end(stream, "WatchJobs", UNAVAILABLE, "DRAINING")
    request, _ = service.send("WatchJobs", many(CHANGED, "a", 3, b"c3"), many(CHANGED, "a", 4, b"c4"))
    assert got.result() == [("a", 1), ("a", 2), ("a", 3)]
    assert request.cursor == b"c2"


def test_wait_gives_the_ended_job_without_input_and_chunks(service: Played):
    ended = one(SNAPSHOT, 7, b"c", COMPLETED)
    ended.job.input["source"] = "s3://bucket/key"
    ended.job.chunks.add(index=0)
    got = service.start(lambda client: client.wait("one"))
    service.send("WatchJob", ended)
    shown = jobs.GetJobResponse(job=ended.job)
    shown.job.output["score"] = 0.5
    assert service.answer("GetJob", shown).view == JobView.BASIC
    assert (got.result().revision, got.result().state) == (7, COMPLETED)
    assert not got.result().HasField("input")
    assert not got.result().chunks
    assert got.result().output["score"] == 0.5


def test_wait_gives_the_ended_job_without_output_when_it_is_gone_or_another_has_its_id(service: Played):
    got = service.start(lambda client: client.wait("one"))
    ended = one(SNAPSHOT, 7, b"c", COMPLETED)
    ended.job.uid = "01a20b52-7b9f-7063-98ed-e050bcfcbb89"
    service.send("WatchJob", ended)
    asked = service.refuse("GetJob", grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")
    assert asked.uid == ended.job.uid, "the service refuses another job with its id"
    assert (got.result().revision, got.result().HasField("output")) == (7, False)


def test_wait_reports_that_the_job_was_deleted(service: Played):
    got = service.start(lambda client: client.wait("one"))
    service.send("WatchJob", one(SNAPSHOT, 1, b"c"), one(DELETED, 2, b"d"))
    assert isinstance(got.exception(), JobNotFoundError)


def test_wait_is_over_after_its_timeout(service: Played):
    got = service.start(lambda client: client.wait("one", timeout=timedelta(seconds=5)))
    _, stream = service.send("WatchJob", one(SNAPSHOT, 1, b"c"))
    assert service.channel.timeouts == [5.0]
    service.end(stream, "WatchJob", grpc.StatusCode.DEADLINE_EXCEEDED)
    assert isinstance(got.exception(), TimeoutError)


def test_a_batch_is_returned_one_by_one_and_the_cursor_is_that_of_the_last_returned(service: Played):
    def read(client: JobClient) -> list[tuple[str, bytes, int]]:
        watch, got = client.watch_jobs(mode=WatchMode.EVERY, cursor=b"c0"), []
        for message in watch:
            got.append((message.job.job_id, watch.cursor, len(message.following)))
            if message.job.job_id == "e":
                return got
        return got

    done = service.start(read)
    batch = many(CHANGED, "a", 1, b"c1")
    batch.following.extend([many(CHANGED, "b", 1, b"c2"), many(BOOKMARK, cursor=b"c3"), many(CHANGED, "c", 1, b"c4")])
    request, stream = service.send("WatchJobs", batch)
    service.end(stream, "WatchJobs", UNAVAILABLE)
    resumed, _ = service.send("WatchJobs", many(CHANGED, "d", 1, b"c5"), many(CHANGED, "e", 1, b"c6"))
    assert (request.batches, request.cursor, resumed.cursor) == (True, b"c0", b"c4")
    assert done.result(BOUND) == [("a", b"c1", 0), ("b", b"c2", 0), ("c", b"c4", 0), ("d", b"c5", 0), ("e", b"c6", 0)]
