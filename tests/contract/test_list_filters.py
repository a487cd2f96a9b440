"""ListJobs filters: every field that is given must match, and nothing else does."""

from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1.export_pb2 import ExportJobsRequest
from jobledger.v1.filter_pb2 import JobFilter, LabelCondition, LabelOperator
from jobledger.v1.job_service_pb2 import WatchMessageType

from tests.support.api import Api, fresh_kind
from tests.support.errors import invalid
from tests.support.states import CANCELLED, CANCELLING, COMPLETED, FAILED, QUEUED, RUNNING

EQ, IN, EXISTS = (LabelOperator.Value(f"LABEL_OPERATOR_{name}") for name in ("EQ", "IN", "EXISTS"))


async def matching(api: Api, **fields: object) -> set[str]:
    """Return the ids of the jobs that match, having checked that the total counts them."""
    answer = await api.list_jobs(filter=JobFilter(**fields), page_size=500)
    assert answer.total_size == len(answer.jobs)
    assert not answer.total_is_lower_bound
    return {job.job_id for job in answer.jobs}


async def matching_everywhere(api: Api, **fields: object) -> set[str]:
    """Return the ids of the jobs that match in a list, having checked that a watch and an export find the same."""
    found = await matching(api, **fields)
    wanted, watched = JobFilter(**fields), set()
    async with api.watch_jobs(filter=wanted) as stream:
        while (message := await stream.message()).type != WatchMessageType.WATCH_MESSAGE_TYPE_BOOKMARK:
            watched.add(message.job.job_id)
    request = ExportJobsRequest(filter=wanted, format="EXPORT_FORMAT_CSV", columns=["job_id"])
    lines = b"".join([piece.data async for piece in api.jobs.ExportJobs(request)]).decode().split()
    assert set(lines[1:]) == watched == found
    return found


def after(moment: Timestamp) -> Timestamp:
    """Return the next moment that the store can tell apart: a microsecond later."""
    later = Timestamp()
    later.FromDatetime(moment.ToDatetime() + timedelta(microseconds=1))
    return later


async def test_by_kind(api: Api, kind: str):
    other = fresh_kind()
    mine, theirs = await api.create(kind), await api.create(other)
    assert await matching(api, kinds=[kind]) == {mine.job_id}
    assert await matching(api, kinds=[kind, other, fresh_kind()]) == {mine.job_id, theirs.job_id}
    assert await matching(api, kinds=[fresh_kind()]) == set()


async def test_by_state(api: Api, kind: str):
    ids = {}
    for state in (COMPLETED, FAILED, CANCELLED, RUNNING, CANCELLING, QUEUED):
        ids[state] = (await api.job_in(state, kind)).job_id
    for state, job_id in ids.items():
        assert await matching(api, kinds=[kind], states=[state]) == {job_id}
    assert await matching(api, kinds=[kind], states=[FAILED, QUEUED, FAILED]) == {ids[FAILED], ids[QUEUED]}


async def test_by_priority(api: Api, kind: str):
    ids = [(await api.create(kind, priority=priority)).job_id for priority in range(11)]
    assert await matching(api, kinds=[kind], min_priority=8) == set(ids[8:])
    assert await matching(api, kinds=[kind], max_priority=0) == {ids[0]}
    assert await matching(api, kinds=[kind], min_priority=3, max_priority=5) == set(ids[3:6])


async def test_by_labels(api: Api, kind: str):
    both = (await api.create(kind, labels={"team": "a", "env": "prod"})).job_id
    one = (await api.create(kind, labels={"team": "a"})).job_id
    await api.create(kind, labels={"team": "A", "env": ""})
    await api.create(kind)
    assert await matching(api, kinds=[kind], labels={"team": "a"}) == {both, one}
    assert await matching(api, kinds=[kind], labels={"team": "a", "env": "prod"}) == {both}
    assert await matching(api, kinds=[kind], labels={"team": "prod"}) == set()


async def test_by_conditions_on_labels(api: Api, kind: str):
    a, b, empty = [(await api.create(kind, labels={"team": team, "teams": "z"})).job_id for team in ("a", "b", "")]
    other = (await api.create(kind, labels={"teams": "a"})).job_id

    async def found(*conditions: tuple[LabelOperator.ValueType, str, list[str]], **fields: object) -> set[str]:
        some = [LabelCondition(operator=operator, name=name, values=values) for operator, name, values in conditions]
        return await matching_everywhere(api, kinds=[kind], label_conditions=some, **fields)

    assert await found((EQ, "team", ["a"])) == {a}
    assert await found((EQ, "team", [""])) == {empty}
    assert await found((IN, "team", ["a", "b", "c"])) == {a, b}
    assert await found((EXISTS, "team", [])) == {a, b, empty}
    assert await found((EXISTS, "team", []), (IN, "teams", ["z"]), labels={"team": "b"}) == {b}
    assert await found((EXISTS, "teams", [])) == {a, b, empty, other}
    assert await found((EXISTS, "tea", [])) == set()


async def test_by_unique_key_and_by_error_code(api: Api, kind: str):
    keyed = (await api.create(kind, unique_key="crawl:42")).job_id
    await api.create(kind, unique_key="crawl:4")
    await api.create(kind, display_name="crawl:42")
    assert await matching_everywhere(api, kinds=[kind], unique_key="crawl:42") == {keyed}
    await api.fail(*await api.claim(kind), code="CUDA_OUT_OF_MEMORY", not_retryable=True)
    await api.fail(*await api.claim(kind), code="CUDA", not_retryable=True)
    assert await matching_everywhere(api, kinds=[kind], error_code="CUDA_OUT_OF_MEMORY") == {keyed}
    assert await matching_everywhere(api, kinds=[kind], search="cuda mem") == {keyed}
    assert await matching_everywhere(api, kinds=[kind], search=keyed.upper()) == {keyed}
    await api.retry(keyed)
    assert await matching_everywhere(api, kinds=[kind], error_code="CUDA_OUT_OF_MEMORY") == set()
    assert await matching_everywhere(api, kinds=[kind], unique_key="crawl:42") == {keyed}


async def test_by_the_times_of_start_and_schedule(api: Api, kind: str):
    started = await api.job_in(RUNNING, kind)
    due = Timestamp(seconds=started.start_time.seconds + 3_600)
    planned = (await api.create(kind, schedule_time=due)).job_id
    assert await matching_everywhere(api, kinds=[kind], start_time={"start_time": started.start_time}) == {
        started.job_id
    }
    assert await matching_everywhere(api, kinds=[kind], start_time={"end_time": started.start_time}) == set()
    assert await matching_everywhere(api, kinds=[kind], schedule_time={"start_time": due, "end_time": after(due)}) == {
        planned
    }
    assert await matching_everywhere(api, kinds=[kind], schedule_time={"end_time": due}) == set()


async def test_a_watch_sees_a_job_leave_when_its_error_code_goes(api: Api, kind: str):
    job_id = (await api.job_in(FAILED, kind)).job_id
    async with api.watch_jobs(filter=JobFilter(kinds=[kind], error_code="BOOM")) as stream:
        assert (await stream.message()).job.job_id == job_id
        assert (await stream.message()).type == WatchMessageType.WATCH_MESSAGE_TYPE_BOOKMARK
        await api.retry(job_id)
        assert (await stream.message()).type == WatchMessageType.WATCH_MESSAGE_TYPE_LEFT


@pytest.mark.one_store("it is refused before the store is asked")
@pytest.mark.parametrize(
    ("field", "condition"),
    [
        ("operator", {"name": "a", "values": ["b"]}),
        ("name", {"name": "?", "operator": "LABEL_OPERATOR_EXISTS"}),
        ("values", {"name": "a", "operator": "LABEL_OPERATOR_EQ", "values": ["b", "c"]}),
        ("values", {"name": "a", "operator": "LABEL_OPERATOR_IN"}),
        ("values", {"name": "a", "operator": "LABEL_OPERATOR_EXISTS", "values": ["b"]}),
    ],
)
async def test_a_condition_on_a_label_that_says_nothing_is_refused(api: Api, field: str, condition: dict[str, Any]):
    with invalid(f"filter.label_conditions[0].{field}"):
        await matching(api, label_conditions=[condition])


async def test_a_changed_label_is_found_under_its_new_value_only(api: Api, kind: str):
    job_id = (await api.create(kind, labels={"team": "a"})).job_id
    await api.update(job_id, update_mask={"paths": ["labels"]}, labels={"team": "b"})
    assert await matching(api, kinds=[kind], labels={"team": "a"}) == set()
    assert await matching(api, kinds=[kind], labels={"team": "b"}) == {job_id}


async def test_by_create_time_with_the_first_moment_in_and_the_last_out(api: Api, kind: str):
    jobs = [await api.create(kind) for _ in range(3)]
    start, end = jobs[1].create_time, after(jobs[1].create_time)
    within = {job.job_id for job in jobs if job.create_time == start}
    assert await matching(api, kinds=[kind], create_time={"start_time": start, "end_time": end}) == within
    before = {job.job_id for job in jobs if job.create_time.ToNanoseconds() < start.ToNanoseconds()}
    assert await matching(api, kinds=[kind], create_time={"end_time": start}) == before
    rest = {job.job_id for job in jobs} - before
    assert await matching(api, kinds=[kind], create_time={"start_time": start}) == rest


async def test_by_update_time(api: Api, kind: str):
    first, second = await api.create(kind), await api.create(kind)
    await api.cancel(first.job_id)
    changed = (await api.get(first.job_id)).update_time
    assert await matching(api, kinds=[kind], update_time={"start_time": after(second.update_time)}) == {first.job_id}
    assert await matching(api, kinds=[kind], update_time={"end_time": changed}) == {second.job_id}


async def test_by_end_time_without_those_that_have_not_ended(api: Api, kind: str):
    await api.create(kind)
    ended = [await api.job_in(CANCELLED, kind) for _ in range(2)]
    first, second = (job.end_time for job in ended)
    assert await matching(api, kinds=[kind], end_time={"start_time": first}) == {job.job_id for job in ended}
    assert await matching(api, kinds=[kind], end_time={"start_time": after(first)}) <= {ended[1].job_id}
    assert await matching(api, kinds=[kind], end_time={"end_time": after(second)}) == {job.job_id for job in ended}
    assert await matching(api, kinds=[kind], end_time={"end_time": first}) == set()


async def test_every_field_that_is_given_must_match(api: Api, kind: str):
    wanted = await api.create(kind, priority=9, labels={"a": "1"}, display_name="Report")
    await api.create(kind, priority=8, labels={"a": "1"}, display_name="Report")
    await api.create(kind, priority=9, labels={"a": "2"}, display_name="Report")
    await api.create(kind, priority=9, labels={"a": "1"}, display_name="Other")
    everything = {"kinds": [kind], "states": [QUEUED], "min_priority": 9, "labels": {"a": "1"}, "search": "rep"}
    assert await matching(api, **everything) == {wanted.job_id}


@pytest.mark.one_store("it is refused before the store is asked")
@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("filter.states[0]", {"states": [0]}),
        ("filter.states[1]", {"states": [QUEUED, 99]}),
        ("filter.kinds", {"kinds": [f"k{n}" for n in range(101)]}),
        ("filter.min_priority", {"min_priority": 11}),
        ("filter.min_priority", {"min_priority": -1}),
        ("filter.max_priority", {"max_priority": 11}),
        ("filter.max_priority", {"min_priority": 7, "max_priority": 3}),
        ("filter.labels", {"labels": {f"n{n}": "" for n in range(65)}}),
        ("filter.search", {"search": "x" * 257}),
        ("filter.search", {"search": " ".join(f"w{n}" for n in range(17))}),
        ("filter.search", {"search": "*-%"}),
        ("filter.create_time.start_time", {"create_time": {"start_time": Timestamp(nanos=-1)}}),
        ("filter.end_time.end_time", {"end_time": {"end_time": Timestamp(seconds=10**15)}}),
    ],
)
async def test_a_filter_that_breaks_a_rule_is_refused_in_lists_and_watches(
    api: Api, field: str, broken: dict[str, object]
):
    with invalid(field):
        await api.list_jobs(filter=JobFilter(**broken))
    with invalid(field):
        await api.watch_jobs(filter=JobFilter(**broken)).message()
