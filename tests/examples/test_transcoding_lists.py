"""D: lists in any order and by any condition, the status of many at once, and priorities that change."""

from datetime import UTC, timedelta

import pytest
from jobledger_client import (
    InvalidFieldError,
    JobClient,
    JobNotFoundError,
    JobOrder,
    JobState,
    JobView,
)

pytestmark = pytest.mark.one_store("the examples see messages, not the store")


@pytest.fixture(scope="module")
def shelf(caller: JobClient) -> str:
    """Make 120 jobs, change some out of their order, and return their kind."""
    kind, made = "video.shelf", list[str]()
    for number in range(120):
        made.append(caller.create_job(kind, display_name=f"clip {number}.mp4", priority=number % 11).job.job_id)
    for number in (70, 3, 41):
        caller.update_job(made[number], labels={"album": "2026"})
    return kind


def test_lists_by_state_priority_dates_and_name(caller: JobClient, shelf: str):
    page = caller.list_jobs(kinds=[shelf], states=[JobState.QUEUED], page_size=100).page()
    assert (len(page.jobs), page.total_size, bool(page.next_page_token)) == (100, 120, True)
    assert len(list(caller.list_jobs(kinds=[shelf], min_priority=10))) == 10
    assert [job.display_name for job in caller.list_jobs(kinds=[shelf], search="clip 77.mp4")] == ["clip 77.mp4"]
    done = caller.create_job("video.done").job.job_id
    [claimed] = caller.leases.claim_chunks(["video.done"], worker="hand")
    caller.leases.complete_chunks([claimed.lease.token])
    ended = caller.get_job(done).end_time.ToDatetime(UTC)
    just = timedelta(microseconds=1)
    for start_time, end_time, found in ((ended, ended + just, [done]), (ended - just, ended, [])):
        jobs = caller.list_jobs(kinds=["video.done"], states=[JobState.COMPLETED], end_time=(start_time, end_time))
        assert [job.job_id for job in jobs] == found


@pytest.mark.parametrize("order", [order for order in JobOrder if not order.name.startswith("END_TIME")])
def test_lists_in_every_order(caller: JobClient, shelf: str, order: JobOrder):
    jobs = list(caller.list_jobs(kinds=[shelf], order=order, page_size=100))
    field, _, direction = order.name.lower().rpartition("_")
    values = [getattr(job, field) for job in jobs]
    keys = [value if isinstance(value, int) else value.ToNanoseconds() for value in values]
    assert (len(keys), keys) == (120, sorted(keys, reverse=direction == "desc"))
    by_creation = field == "create_time"
    created = [job.create_time.ToNanoseconds() for job in jobs]
    assert (created == sorted(created, reverse=direction == "desc")) is by_creation, (
        "another order than that of creation"
    )


def test_a_batch_reports_the_status_of_many(caller: JobClient, shelf: str):
    some = [job.job_id for job in caller.list_jobs(kinds=[shelf], page_size=3).page().jobs]
    batch = caller.batch_get_jobs([*some, "gone"], view=JobView.STATUS)
    assert ([job.job_id for job in batch.jobs], list(batch.missing_job_ids)) == (some, ["gone"])


def test_priority_changes_and_deletion(caller: JobClient):
    job = caller.create_job("video.shelf.two").job
    assert caller.update_job(job.job_id, priority=10).priority == 10
    with pytest.raises(InvalidFieldError):
        caller.update_job(job.job_id, priority=11)
    caller.delete_job(job.job_id, force=True)
    with pytest.raises(JobNotFoundError):
        caller.get_job(job.job_id)
