"""schedule_time in the SDK and the command line: times, and durations from now."""

from datetime import UTC, datetime, timedelta

import pytest
from jobledger_client import HoldReason, JobClient, JobStartedError, NewJob

from tests.client.shell import Shell

pytestmark = pytest.mark.one_store("the SDK sees messages, not the store")


def test_a_schedule_is_a_time_or_a_timedelta_and_can_be_removed(sync_client: JobClient, kind: str):
    time = datetime(2100, 1, 1, tzinfo=UTC)
    job = sync_client.create_job(kind, schedule_time=timedelta(hours=1)).job
    assert [hold.reason for hold in job.holds] == [HoldReason.SCHEDULE]
    assert timedelta(minutes=59) < job.schedule_time.ToDatetime() - job.create_time.ToDatetime() < timedelta(minutes=61)
    assert sync_client.update_job(job.job_id, schedule_time=time).schedule_time.ToDatetime(UTC) == time
    with pytest.raises(ValueError, match="exclude each other"):
        sync_client.update_job(job.job_id, schedule_time=time, start_now=True)
    started = sync_client.update_job(job.job_id, start_now=True)
    assert (list(started.holds), started.HasField("schedule_time")) == ([], False)
    assert sync_client.leases.claim_chunks([kind], worker="w")
    with pytest.raises(JobStartedError):
        sync_client.update_job(job.job_id, schedule_time=time)


def test_an_expiry_may_be_a_timedelta_too(sync_client: JobClient, kind: str):
    job = sync_client.create_job(kind, expire_time=timedelta(days=7)).job
    assert timedelta(days=6) < job.expire_time.ToDatetime() - job.create_time.ToDatetime() < timedelta(days=8)
    longer = sync_client.update_job(job.job_id, expire_time=timedelta(days=30)).expire_time
    assert longer.ToSeconds() > job.expire_time.ToSeconds()
    [outcome] = sync_client.create_jobs([NewJob(kind, expire_time=timedelta(days=7))])
    assert outcome.job is not None
    assert outcome.job.expire_time.ToSeconds() >= job.expire_time.ToSeconds()


def test_the_command_line_shows_the_key_of_a_job_and_that_a_checked_job_exists(shell: Shell, kind: str):
    job_id = shell("create", kind, "--unique-key", "nightly").strip()
    assert any(line.split() == ["unique", "key", "nightly"] for line in shell("get", job_id).splitlines())
    assert shell("create", kind, "--unique-key", "nightly", "--validate-only").strip() == job_id


def test_the_command_line_schedules_shows_and_moves_a_job(shell: Shell, sync_client: JobClient, kind: str):
    job_id = shell("create", kind, "--at", "2h").strip()
    assert "its time, " in shell("get", job_id)
    assert "SCHEDULE" in shell("chunks", job_id)
    shell("update", job_id, "--at", "2100-01-01T00:00:00+00:00")
    assert sync_client.get_job(job_id).schedule_time.ToDatetime(UTC) == datetime(2100, 1, 1, tzinfo=UTC)
    shell("update", job_id, "--now")
    assert not sync_client.get_job(job_id).HasField("schedule_time")
