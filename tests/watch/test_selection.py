"""What a watch is asked to deliver: some changes, some jobs, nothing but what comes, the jobs of all owners."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from jobledger.v1.event_pb2 import ChangeType
from jobledger.v1.job_pb2 import Job, JobView
from jobledger.v1.job_service_pb2 import WatchMode
from jobledger_service.core.watch.snapshots import SNAPSHOT_PAGE_SIZE

from tests.bulk.runs import create_many
from tests.isolation.conftest import Tenants
from tests.operate.conftest import scrape
from tests.support.api import Api
from tests.support.errors import invalid, refused
from tests.support.lives import ended, live
from tests.support.server import Server
from tests.support.states import COMPLETED, QUEUED, RUNNING
from tests.support.watching import BOOKMARK, CHANGED, DELETED, LEFT, SNAPSHOT
from tests.watch.conftest import Watching

EVERY = WatchMode.WATCH_MODE_EVERY
UPDATED, CLAIMED = ChangeType.CHANGE_TYPE_UPDATED, ChangeType.CHANGE_TYPE_CLAIMED


async def rename(api: Api, job_id: str, name: str) -> None:
    """Change the name of a job."""
    await api.update(job_id, update_mask={"paths": ["display_name"]}, display_name=name)


async def test_state_changes_only_are_the_first_message_the_states_and_the_end(api: Api, kind: str, watching: Watching):
    job = await api.create(kind, item_count=2, chunk_size=1)
    async with watching(api, job, mode=EVERY, state_changes_only=True) as watch:
        messages = [await watch.change()]
        if not watch.cursor:
            await watch.bookmark()
        last = await live(api, job)
        messages += await watch.through(ended)
    assert [message.job.state for message in messages] == [QUEUED, RUNNING, COMPLETED]
    assert messages[-1].job.revision == last.revision
    assert not any(message.merged_revision_count for message in messages)


async def test_the_wanted_changes_come_and_a_resume_begins_with_the_first_of_each_job(
    api: Api, kind: str, watching: Watching
):
    job = await api.create(kind)
    [claimed] = await api.claim(kind)
    async with watching(api, job, mode=EVERY, change_types=[UPDATED]) as watch:
        first = await watch.change()
        await api.report(claimed, percent=10)
        await rename(api, job.job_id, "one")
        renamed = await watch.change()
    assert (first.type, renamed.job.display_name, renamed.job.revision) == (SNAPSHOT, "one", first.job.revision + 2)
    await api.report(claimed, percent=20)
    await api.report(claimed, percent=30)
    await rename(api, job.job_id, "two")
    async with watching(api, job, mode=EVERY, change_types=[UPDATED], cursor=renamed.cursor) as watch:
        first, second = await watch.changes(2)
        await api.report(claimed, percent=40)
        await watch.until(lambda message: message.type == BOOKMARK and message.cursor > second.cursor)
        await api.delete(job.job_id, force=True)
        last = await watch.change()
    assert (round(first.job.progress.percent), second.job.display_name, last.type) == (20, "two", DELETED)


async def test_a_job_that_leaves_is_announced_whatever_is_asked_for(api: Api, kind: str):
    job = await api.create(kind)
    wanted = {"kinds": [kind], "min_priority": 5}
    async with api.watch_jobs(filter=wanted, change_types=[CLAIMED]) as watch:
        await watch.bookmark()
        for priority in (6, 1, 7):
            await api.update(job.job_id, update_mask={"paths": ["priority"]}, priority=priority)
            if priority == 6:
                await watch.bookmark()
        left, back = await watch.changes(2)
    assert (left.type, left.job.priority, back.type, back.job.priority) == (LEFT, 1, CHANGED, 7)


@pytest.mark.guarantee("3b.6")
async def test_what_is_passed_over_wakes_nobody(api: Api, kind: str, server: Server, watching: Watching):
    job = await api.create(kind)
    [claimed] = await api.claim(kind)
    async with watching(api, job, state_changes_only=True) as watch:
        await watch.change()
        await watch.bookmark()
        before = scrape(server).value("jobledger_watch_wakeups_total")
        for percent in range(10):
            await api.report(claimed, percent=percent)
        assert scrape(server).value("jobledger_watch_wakeups_total") == before
        await api.complete(claimed)
        assert ended(await watch.change())


@pytest.mark.guarantee("3b.6")
async def test_named_jobs_are_watched_and_listed_and_the_others_cost_nothing(api: Api, kind: str, server: Server):
    jobs = [await api.create(kind, priority=number % 2) for number in range(6)]
    named = [jobs[0].job_id, jobs[1].job_id, jobs[4].job_id, "no-such"]
    wanted = {"job_ids": named, "max_priority": 0}
    listed = await api.list_jobs(filter=wanted, page_size=1)
    rest = await api.list_jobs(filter=wanted, page_size=1, page_token=listed.next_page_token)
    assert [job.job_id for job in (*listed.jobs, *rest.jobs)] == [jobs[4].job_id, jobs[0].job_id]
    assert (listed.total_size, rest.next_page_token) == (2, "")
    async with api.watch_jobs(filter=wanted) as watch:
        assert [message.job.job_id for message in await watch.changes(2)] == [jobs[4].job_id, jobs[0].job_id]
        await watch.bookmark()
        before = scrape(server).value("jobledger_watch_filter_evaluations_total")
        for job in (jobs[2], jobs[3], jobs[5]):
            await api.cancel(job.job_id)
        assert scrape(server).value("jobledger_watch_filter_evaluations_total") == before
        await api.cancel(jobs[0].job_id)
        assert (await watch.change()).job.job_id == jobs[0].job_id
    with invalid("filter.job_ids"):
        await api.watch_jobs(filter={"job_ids": ["x"] * 501}).message()


async def test_a_watch_from_now_begins_with_a_bookmark(api: Api, kind: str):
    old = await api.create(kind)
    async with api.watch_jobs(kind, from_now=True, state_changes_only=True) as watch:
        first = await watch.message()
        await rename(api, old.job_id, "renamed")
        second = await watch.change()
        await rename(api, old.job_id, "again")
        await api.cancel(old.job_id)
        third = await watch.change()
    assert (first.type, second.job.display_name, ended(third)) == (BOOKMARK, "renamed", True)
    with invalid("from_now"):
        await api.watch_jobs(kind, from_now=True, cursor=first.cursor).message()
    with invalid("change_types[0]"):
        await api.watch_jobs(kind, change_types=[99]).message()


@pytest.mark.guarantee("3a.6")
async def test_a_broken_snapshot_goes_on_where_it_stopped(api: Api, kind: str):
    """Jobs change, end, come and go while it is read; what was shown is followed, and what was not is shown once."""
    job_ids = await create_many(api, kind, SNAPSHOT_PAGE_SIZE + 100)
    known: dict[str, int] = {}
    cursor, connections, shown = b"", 0, 0
    while True:
        async with api.watch_jobs(kind, cursor=cursor, mode=EVERY) as watch:
            for _ in range(150):
                message = await watch.message()
                if message.type == BOOKMARK:
                    break
                cursor = message.cursor
                assert cursor
                assert message.job.revision > known.get(message.job.job_id, 0), "no revision twice, none falls"
                assert message.type == CHANGED or message.job.job_id not in known
                known[message.job.job_id] = message.job.revision
                shown += message.type == SNAPSHOT
        if message.type == BOOKMARK:
            break
        connections += 1
        if connections < 4:
            for job_id in (job_ids[connections], job_ids[-connections]):
                await rename(api, job_id, f"after {connections}")
            await api.create(kind)
    assert (connections, shown) == (4, len(job_ids))
    stored = [job async for job in pages(api, kind)]
    assert known == {job.job_id: job.revision for job in stored}
    with invalid("cursor"):
        await api.watch_jobs(kind, "another.kind", cursor=cursor).message()
    with invalid("cursor"):
        await api.watch_job(job_ids[0], cursor=cursor).message()


@pytest.mark.guarantee("3b.8")
async def test_an_admin_watches_the_jobs_of_all_owners(store: str, tmp_path: Path, kind: str):
    tenants = Tenants(store, tmp_path)
    alice, bob = await tenants.api("alice"), await tenants.api("bob")
    one, two = await alice.create(kind, job_id="same"), await bob.create(kind, job_id="same")
    everyone = {"kinds": [kind], "all_owners": True}
    async with tenants.admin.watch_jobs(filter=everyone, mode=EVERY, view=JobView.JOB_VIEW_STATUS) as watch:
        snapshots = await watch.changes(2)
        assert {(message.type, message.job.owner, message.job.uid) for message in snapshots} == {
            (SNAPSHOT, "alice", one.uid),
            (SNAPSHOT, "bob", two.uid),
        }
        begin = (await watch.bookmark()).cursor
        await alice.cancel("same")
        await bob.cancel("same")
        three = await (await tenants.api("carol")).create(kind)
        live = await watch.changes(3)
    assert [message.job.owner for message in live] == ["alice", "bob", "carol"]
    for cursor, begun in ((begin, 0), (snapshots[0].cursor, 1)):
        async with tenants.admin.watch_jobs(filter=everyone, cursor=cursor, mode=EVERY) as watch:
            seen = [(message.type, message.job.owner) for message in await watch.changes(3)]
        assert sorted(owner for _, owner in seen)[-1] == "carol", seen
        assert [kind for kind, _ in seen].count(SNAPSHOT) == begun, seen
    tenants.restart()
    async with tenants.admin.watch_jobs(filter=everyone, cursor=begin, mode=EVERY) as watch:
        assert [message.job.uid for message in await watch.changes(3)] == [one.uid, two.uid, three.uid]
    with refused(grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING"):
        await alice.watch_jobs(filter=everyone).message()
    with invalid("filter.all_owners"):
        await tenants.admin.list_jobs(filter=everyone)
    await tenants.close()


async def pages(api: Api, kind: str) -> AsyncIterator[Job]:
    """Yield all jobs of a kind."""
    token = ""
    while True:
        page = await api.list_jobs(filter={"kinds": [kind]}, page_size=500, page_token=token)
        for job in page.jobs:
            yield job
        token = page.next_page_token
        if not token:
            return
