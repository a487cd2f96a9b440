"""UpdateJob: what the mask names is changed, and nothing else; an etag of an older revision is refused."""

from datetime import UTC, datetime
from uuid import uuid4

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import UpdateJobRequest

from tests.support.api import Api
from tests.support.errors import invalid, refused
from tests.support.states import CANCELLED, COMPLETED, FAILED

LATER = datetime(2100, 1, 1, tzinfo=UTC)


async def update(api: Api, job_id: str, *paths: str, **fields: object) -> Job:
    """Change the fields that the paths name."""
    request = UpdateJobRequest(job_id=job_id, update_mask={"paths": paths}, **fields)
    return (await api.jobs.UpdateJob(request)).job


async def test_only_what_the_mask_names_is_changed(api: Api, kind: str):
    job = await api.create(kind, display_name="old", labels={"a": "1"}, priority=2, expire_time=LATER)
    others = {"priority": 9, "labels": {"b": "2"}, "expire_time": datetime(2101, 1, 1, tzinfo=UTC)}
    changed = await update(api, job.job_id, "display_name", display_name="new", **others)
    assert (changed.display_name, changed.revision) == ("new", 2)
    assert (changed.priority, dict(changed.labels), changed.expire_time) == (2, {"a": "1"}, job.expire_time)
    assert changed.etag != job.etag
    stored = await api.get(job.job_id)
    stored.ClearField("chunks")
    stored.ClearField("attempts")
    assert stored == changed


async def test_all_of_it_at_once(api: Api, kind: str):
    job = await api.create(kind, labels={"a": "1"})
    fields = {"priority": 0, "display_name": "n", "labels": {"b": "2"}, "expire_time": LATER}
    await update(api, job.job_id, *fields, **fields)
    job = await api.get(job.job_id)
    assert (job.priority, job.display_name, dict(job.labels)) == (0, "n", {"b": "2"})
    assert job.expire_time.ToDatetime(UTC) == LATER
    assert job.revision == 2


async def test_what_the_mask_names_and_is_not_given_is_removed(api: Api, kind: str):
    job = await api.create(kind, display_name="old", labels={"a": "1"}, expire_time=LATER)
    job = await update(api, job.job_id, "display_name", "labels", "expire_time")
    assert (job.display_name, dict(job.labels), job.HasField("expire_time")) == ("", {}, False)


async def test_single_labels_are_set_and_removed_and_others_stay(api: Api, kind: str):
    odd = "example.org/Team_a.b-c"  # a path has all that follows the first dot
    job = await api.create(kind, labels={"kept": "1", "gone": "2", "changed": "3", "kept.too": "4"})
    paths = [f"labels.{name}" for name in ("gone", "changed", odd, "never-there")]
    given = {"changed": "5", odd: "6", "not named": "", "kept": "7"}
    with invalid('labels["not named"]'):
        await update(api, job.job_id, *paths, labels=given)
    del given["not named"]
    with invalid("update_mask"):
        await update(api, job.job_id, "labels.jobledger.method")
    with invalid('labels["jobledger.method"]'):
        await update(api, job.job_id, "labels", labels={"jobledger.method": "x"})
    changed = await update(api, job.job_id, *paths, "priority", labels=given, priority=9, reason="moved")
    assert dict(changed.labels) == {"kept": "1", "changed": "5", "kept.too": "4", odd: "6"}
    assert (await api.get(job.job_id)).labels == changed.labels
    assert changed.priority == 9
    events = (await api.list_events(job.job_id)).events
    assert events[-1].changes[0].reason == f"{', '.join(sorted([*paths, 'priority']))}; moved"
    assert (await update(api, job.job_id, *paths, labels=given)).revision == changed.revision
    found = await api.list_jobs(filter={"kinds": [kind], "labels": {odd: "6"}})
    assert [one.job_id for one in found.jobs] == [job.job_id]


@pytest.mark.guarantee("3e.8")
async def test_a_job_never_has_more_labels_than_it_may(api: Api, kind: str):
    job = await api.create(kind, labels={f"n{n}": "" for n in range(64)})
    with invalid("labels"):
        await update(api, job.job_id, "labels.more", labels={"more": ""})
    changed = await update(api, job.job_id, "labels.more", "labels.n0", labels={"more": ""})
    assert (len(changed.labels), "more" in changed.labels, "n0" in changed.labels) == (64, True, False)


async def test_a_new_priority_reaches_the_pending_chunks_at_once(api: Api, kind: str):
    first, second, third = [await api.create(kind, item_count=2, chunk_size=1) for _ in range(3)]
    [claimed] = await api.claim(kind)
    assert claimed.job_id == first.job_id
    await update(api, third.job_id, "priority", priority=10)
    await update(api, first.job_id, "priority", priority=0)
    order = [one.job_id for one in await api.claim(kind, 10)]
    assert order == [third.job_id] * 2 + [second.job_id] * 2 + [first.job_id]


async def test_the_right_etag_is_taken_and_an_old_one_is_refused(api: Api, kind: str):
    job = await api.create(kind)
    changed = await update(api, job.job_id, "priority", priority=6, etag=job.etag)
    assert changed.priority == 6
    for etag in (job.etag, "no etag at all"):
        with refused(grpc.StatusCode.ABORTED, "ETAG_MISMATCH") as result:
            await update(api, job.job_id, "priority", priority=7, etag=etag)
        assert result.metadata["job_id"] == job.job_id
    assert (await api.get(job.job_id)).priority == 6


async def test_an_etag_of_another_job_is_refused(api: Api, kind: str):
    job, other = await api.create(kind), await api.create(kind)
    assert job.revision == other.revision
    with refused(grpc.StatusCode.ABORTED, "ETAG_MISMATCH"):
        await update(api, job.job_id, "priority", priority=7, etag=other.etag)


@pytest.mark.parametrize("state", [COMPLETED, FAILED, CANCELLED])
async def test_an_ended_job_takes_no_new_priority_but_a_new_name(api: Api, kind: str, state: int):
    job = await api.job_in(state, kind)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "JOB_ENDED"):
        await update(api, job.job_id, "display_name", "priority", priority=6, display_name="refused too")
    changed = await update(api, job.job_id, "display_name", "labels", display_name="n", labels={"a": "1"})
    assert (changed.display_name, dict(changed.labels), changed.state) == ("n", {"a": "1"}, state)


async def test_a_request_that_breaks_a_rule_is_refused_and_changes_nothing(api: Api, kind: str):
    job = await api.get((await api.create(kind)).job_id)
    rules = [
        ("update_mask", (), {}),
        ("update_mask", ("state",), {}),
        ("update_mask", ("priority", "nonsense"), {"priority": 1}),
        ("update_mask", ("labels.",), {}),
        ("update_mask", ('labels."a"',), {}),
        ("update_mask", ("labels.a b",), {}),
        ("update_mask", ("labels.[a]",), {}),
        ("update_mask", (f"labels.{'x' * 64}",), {}),
        ("update_mask", ("labels", "labels.a"), {}),
        ("update_mask", tuple(f"labels.n{n}" for n in range(101)), {}),
        ("reason", ("display_name",), {"reason": "x" * 1_025}),
        ("priority", ("priority",), {}),
        ("priority", ("priority",), {"priority": 11}),
        ("priority", ("priority",), {"priority": -1}),
        ("display_name", ("display_name",), {"display_name": "x" * 1_025}),
        ("labels", ("labels",), {"labels": {f"n{n}": "" for n in range(65)}}),
        ('labels["a b"]', ("labels",), {"labels": {"a b": ""}}),
        ("expire_time", ("expire_time",), {"expire_time": Timestamp(nanos=-1)}),
    ]
    for field, paths, fields in rules:
        with invalid(field):
            await update(api, job.job_id, *paths, **fields)
    with invalid("job_id"):
        await update(api, "", "priority", priority=1)
    with refused(grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND"):
        await update(api, uuid4().hex, "priority", priority=1)
    assert await api.get(job.job_id) == job
