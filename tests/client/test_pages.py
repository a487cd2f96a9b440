"""Lists, item by item and page by page."""

from datetime import UTC, datetime

import grpc
import pytest
from jobledger.v1 import job_service_pb2 as jobs
from jobledger.v1.chunk_pb2 import Chunk
from jobledger.v1.event_pb2 import JobEvent
from jobledger.v1.job_pb2 import Job
from jobledger_client import ChunkState, JobClient, JobOrder, JobState, JobView, PageTokenInvalidError

from tests.client.controlled import Played


def page(*ids: str, token: str = "") -> jobs.ListJobsResponse:
    return jobs.ListJobsResponse(
        jobs=[Job(job_id=one) for one in ids], next_page_token=token, total_size=3, cursor=b"c"
    )


def test_iteration_asks_for_page_after_page(service: Played):
    got = service.start(lambda client: [job.job_id for job in client.list_jobs(states=[JobState.RUNNING], page_size=2)])
    first = service.answer("ListJobs", page("a", "b", token="next"))
    second = service.answer("ListJobs", page("c"))
    assert got.result() == ["a", "b", "c"]
    assert (first.page_token, second.page_token) == ("", "next")
    second.page_token = ""
    assert first == second  # with everything else unchanged, as the token demands


def test_a_page_is_not_asked_for_before_it_is_needed(service: Played):
    got = service.start(lambda client: next(iter(client.list_jobs())).job_id)
    service.answer("ListJobs", page("a", "b", token="next"))
    assert got.result() == "a"


def test_an_empty_page_in_the_middle_is_not_the_end(service: Played):
    got = service.start(lambda client: [job.job_id for job in client.list_jobs()])
    service.answer("ListJobs", page("a", token="x"))
    service.answer("ListJobs", page(token="y"))
    service.answer("ListJobs", page("b"))
    assert got.result() == ["a", "b"]


def test_a_page_has_what_stands_beside_the_jobs(service: Played):
    got = service.start(lambda client: client.list_jobs(page_token="here").page())
    request = service.answer("ListJobs", page("b", token="next"))
    assert request.page_token == "here"
    assert (got.result().next_page_token, got.result().total_size, got.result().cursor) == ("next", 3, b"c")


def test_pages_come_as_they_are(service: Played):
    got = service.start(lambda client: [len(one.jobs) for one in client.list_jobs().pages()])
    service.answer("ListJobs", page("a", "b", token="next"))
    service.answer("ListJobs", page("c"))
    assert got.result() == [2, 1]


def test_an_error_on_a_later_page_comes_when_it_is_reached(service: Played):
    seen: list[str] = []

    def read(client: JobClient) -> None:
        seen.extend(job.job_id for job in client.list_jobs())

    got = service.start(read)
    service.answer("ListJobs", page("a", token="next"))
    service.refuse("ListJobs", grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")
    assert isinstance(got.exception(), PageTokenInvalidError)
    assert seen == ["a"]


def test_every_part_of_the_filter_arrives(service: Played):
    start = datetime(2026, 1, 31, 8, tzinfo=UTC)
    got = service.start(
        lambda client: client.list_jobs(
            states=[JobState.QUEUED, JobState.RUNNING],
            kinds=["a.b"],
            min_priority=0,
            max_priority=7,
            create_time=(start, None),
            end_time=(None, start),
            labels={"team": "search"},
            search="cat",
            order=JobOrder.PRIORITY_ASC,
            view=JobView.FULL,
        ).page()
    )
    request = service.answer("ListJobs", page())
    got.result()
    assert list(request.filter.states) == [JobState.QUEUED, JobState.RUNNING]
    assert request.filter.HasField("min_priority")
    assert (request.filter.min_priority, request.filter.max_priority) == (0, 7)
    assert request.filter.create_time.start_time.ToDatetime(tzinfo=UTC) == start
    assert not request.filter.create_time.HasField("end_time")
    assert not request.filter.HasField("update_time")
    assert request.filter.end_time.end_time.ToDatetime(tzinfo=UTC) == start
    assert (dict(request.filter.labels), request.filter.search) == ({"team": "search"}, "cat")
    assert (request.order, request.view) == (JobOrder.PRIORITY_ASC, JobView.FULL)


def test_a_name_of_a_state_is_refused_before_it_is_sent(service: Played):
    with pytest.raises(TypeError, match=r"must be a member, such as JobState.RUNNING; got 'RUNNING'"):
        service.client.list_jobs(states=["RUNNING"])


def test_chunks_and_events_are_lists_too(service: Played):
    got = service.start(lambda client: [chunk.index for chunk in client.list_chunks("one", states=[ChunkState.FAILED])])
    request = service.answer("ListChunks", jobs.ListChunksResponse(chunks=[Chunk(index=4)]))
    assert (got.result(), list(request.states)) == ([4], [ChunkState.FAILED])

    got = service.start(lambda client: [event.position for event in client.list_events("one")])
    service.answer("ListEvents", jobs.ListEventsResponse(events=[JobEvent(position=7)], next_page_token="n"))
    service.answer("ListEvents", jobs.ListEventsResponse(events=[JobEvent(position=9)]))
    assert got.result() == [7, 9]
