"""ListJobs filters: every field that is given must match, and nothing else does."""

from datetime import timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1.filter_pb2 import JobFilter
from jobledger.v1.job_service_pb2 import ListJobsRequest, UpdateJobRequest

from tests.support.api import Api, fresh_kind
from tests.support.errors import invalid
from tests.support.states import CANCELLED, CANCELLING, COMPLETED, FAILED, QUEUED, RUNNING


async def matching(api: Api, **fields: object) -> set[str]:
    """Return the ids of the jobs that match, having checked that the total counts them."""
    answer = await api.jobs.ListJobs(ListJobsRequest(filter=JobFilter(**fields), page_size=500))
    assert answer.total_size == len(answer.jobs)
    assert not answer.total_is_lower_bound
    return {job.job_id for job in answer.jobs}


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


async def test_a_changed_label_is_found_under_its_new_value_only(api: Api, kind: str):
    job_id = (await api.create(kind, labels={"team": "a"})).job_id
    await api.jobs.UpdateJob(UpdateJobRequest(job_id=job_id, update_mask={"paths": ["labels"]}, labels={"team": "b"}))
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
        await api.jobs.ListJobs(ListJobsRequest(filter=JobFilter(**broken)))
    with invalid(field):
        await api.watch_jobs(filter=JobFilter(**broken)).message()
