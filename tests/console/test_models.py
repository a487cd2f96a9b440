"""What pages show, without a browser: queries of addresses, live lists, timelines."""

import re
from pathlib import Path

import jobledger_console
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as some
from jobledger.v1.event_pb2 import Change, JobEvent
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import ListJobsResponse, WatchJobsResponse
from jobledger_client import AttemptOutcome, ChangeType, JobOrder, JobState, WatchMessageType
from jobledger_console.jobs.live_list import JobList, names
from jobledger_console.jobs.model import Try
from jobledger_console.jobs.query import InvalidQueryError, JobQuery
from jobledger_console.jobs.timelines import timeline
from jobledger_console.sign_in import local_path

word = some.text("abcxyz.-_0", min_size=1, max_size=8)
queries = some.builds(
    JobQuery,
    search=word | some.just(""),
    states=some.lists(some.sampled_from(JobState), unique=True).map(lambda states: tuple(sorted(states))),
    kinds=some.lists(word, max_size=2).map(tuple),
    labels=some.lists(some.tuples(word, word), max_size=2).map(tuple),
    error_code=word | some.just(""),
    owner=word | some.just(""),
    service_jobs=some.booleans(),
    order=some.sampled_from(JobOrder),
    after=word | some.just(""),
)


@given(queries)
def test_the_query_of_an_address_is_read_back(query: JobQuery) -> None:
    assert JobQuery.of_address(query.to_address()) == query


@pytest.mark.parametrize("address", [{"state": "BOGUS"}, {"order": "colour"}, {"label": "team"}])
def test_a_wrong_address_is_refused_with_its_rule(address: dict[str, str]) -> None:
    with pytest.raises(InvalidQueryError, match="must be"):
        JobQuery.of_address(address)


@pytest.mark.parametrize(
    "path", ["//evil.example.org", "/\\evil.example.org", "https://evil.example.org", "", "/sign-in?next=/"]
)
def test_signing_in_leads_to_pages_of_the_console_alone(path: str) -> None:
    assert local_path(path) == "/"


def job(number: int, revision: int = 1, **fields: object) -> Job:
    return Job(
        job_id=f"job-{number}", uid=f"uid-{number}", revision=revision, create_time=Timestamp(seconds=number), **fields
    )


def changed(
    one: Job, kind: WatchMessageType = WatchMessageType.CHANGED, change: ChangeType = ChangeType.PROGRESSED
) -> WatchJobsResponse:
    return WatchJobsResponse(type=int(kind), job=one, event=JobEvent(changes=[Change(type=int(change))]))


def listed(*jobs: Job, token: str = "") -> ListJobsResponse:
    return ListJobsResponse(jobs=jobs, next_page_token=token, total_size=len(jobs))


def test_a_new_job_comes_first_and_pushes_the_last_one_out() -> None:
    shown = JobList(JobQuery(), 2)
    shown.load(listed(job(3), job(2), token="more"))
    assert shown.apply(changed(job(4), change=ChangeType.CREATED))
    assert names(shown.jobs) == ["job-4", "job-3"]
    assert shown.total == 3
    assert not shown.apply(changed(job(1, 2))), "a job of a later page stays there"


def test_messages_before_the_list_are_older_or_newer_than_it() -> None:
    shown = JobList(JobQuery(), 10)
    shown.apply(changed(job(2, 5)))
    shown.apply(changed(job(1, 1)))
    shown.apply(changed(job(3, 4), WatchMessageType.LEFT))
    shown.load(listed(job(3, 3), job(2, 4), job(1, 2)))
    assert [(one.job_id, one.revision) for one in shown.jobs] == [("job-2", 5), ("job-1", 2)]


def test_a_later_page_loses_jobs_and_gets_none() -> None:
    shown = JobList(JobQuery(after="token"), 10)
    shown.load(listed(job(3), job(2)))
    assert not shown.apply(changed(job(9), change=ChangeType.CREATED))
    assert shown.apply(changed(job(3, 2), WatchMessageType.DELETED))
    assert names(shown.jobs) == ["job-2"]


@given(some.lists(some.tuples(some.integers(0, 9), some.booleans()), max_size=40))
def test_a_live_list_ends_as_a_new_one_would_begin(steps: list[tuple[int, bool]]) -> None:
    shown, truth = JobList(JobQuery(order=JobOrder.PRIORITY_DESC), 50), {}
    shown.load(listed())
    for revision, (number, is_there) in enumerate(steps, 1):
        one = job(number, revision, priority=revision % 5)
        if is_there:
            truth[number] = one
            shown.apply(changed(one))
        elif truth.pop(number, None) is not None:
            shown.apply(changed(one, WatchMessageType.LEFT))
    wanted = sorted(truth.values(), key=lambda one: (one.priority, one.create_time.seconds), reverse=True)
    assert shown.jobs == wanted


def attempt(worker: str, start: int, took: int | None, chunk: int) -> Try:
    end = None if took is None else start + took
    return Try(chunk, worker, start, end, None if took is None else AttemptOutcome.FAILED)


tries = some.lists(
    some.builds(
        attempt,
        some.sampled_from(["a", "b"]),
        some.integers(0, 50),
        some.none() | some.integers(1, 20),
        some.integers(0, 99),
    ),
    max_size=12,
)


@given(tries)
def test_bars_of_a_lane_do_not_overlap(every: list[Try]) -> None:
    shown = timeline(every)
    assert len(shown.bars) + shown.hidden == len(every)
    lanes: dict[tuple[int, int], float] = {}
    for row, lane, start, end, _, _, _ in shown.bars:
        if lane < 7:  # the last lane takes what finds no other
            assert lanes.get((row, lane), 0) <= start
        lanes[row, lane] = end if end is not None else float("inf")


def luminance(colour: str) -> float:
    """Return the relative luminance of #rrggbb, as WCAG 2 defines it."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, as WCAG 2 defines it."""
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", [":root", "body.body--dark"])
def test_text_has_the_contrast_of_wcag_aa(theme: str) -> None:
    sheet = Path(jobledger_console.__file__).with_name("static").joinpath("console.css").read_text()
    block = sheet[sheet.index(f"{theme} {{") :]
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block[: block.index("}")]))
    states = ("queued", "running", "cancelling", "completed", "failed", "cancelled")
    pairs = [(f"{state}-text", f"{state}-back") for state in states]
    pairs += [(text, back) for text in ("text", "quiet", "link") for back in ("page", "card", "hover")]
    pairs += [("on-accent", "accent"), ("on-danger", "danger")]
    poor = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
    assert {pair: ratio for pair, ratio in poor.items() if ratio < 4.5} == {}
    graphics = {state: contrast(colours[state], colours["card"]) for state in states if state != "queued"}
    assert {state: ratio for state, ratio in graphics.items() if ratio < 3} == {}
