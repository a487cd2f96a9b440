"""What becomes of a Celery task becomes of its attempt, and is in the ledger."""

from datetime import timedelta

import pytest
from jobledger.v1.job_pb2 import Job
from jobledger_client import ChangeType, EventOrder, JobClient, JobView, RetryPolicy

from tests.celery.app import app
from tests.celery.conftest import Plant
from tests.support.bounds import CALL_TIMEOUT
from tests.support.states import CANCELLED, COMPLETED, FAILED, summary

pytestmark = pytest.mark.one_store("Celery's workers see messages, not the store")

SOON = RetryPolicy(initial_backoff=timedelta(milliseconds=50))


def failures(caller: JobClient, job_id: str) -> list[str]:
    """Return the reason of each failed attempt."""
    kinds = (ChangeType.CHUNK_FAILED, ChangeType.LEASE_EXPIRED)
    changes = [
        change for event in caller.list_events(job_id, order=EventOrder.POSITION_ASC) for change in event.changes
    ]
    return [change.reason for change in changes if change.type in kinds]


def ended(caller: JobClient, job_id: str) -> Job:
    caller.wait(job_id, timeout=CALL_TIMEOUT)
    return caller.get_job(job_id, view=JobView.FULL)


def begun(caller: JobClient, job_id: str, chunks: int = 1) -> None:
    """Return when so many chunks are in work, and one has said so."""
    with caller.watch(job_id, timeout=CALL_TIMEOUT) as messages:
        jobs = (message.job for message in messages)
        assert any(job.chunks_summary.processing == chunks and job.progress.message for job in jobs)


def test_the_chunks_of_a_job_are_done_and_their_task_ids_known(plant: Plant, caller: JobClient):
    job_id = caller.create_job("celery.count", item_count=2_500).job.job_id
    job = ended(caller, job_id)
    assert (job.state, summary(job)) == (COMPLETED, {"total": 5, "completed": 5})
    assert (job.progress.items_completed, job.result_uri) == (2_500, "https://cdn.example/all.json")
    assert len({chunk.task_id for chunk in job.chunks}) == 5
    for chunk in job.chunks:
        assert chunk.task_id.startswith(f"{job_id}:{chunk.index}:")
        assert chunk.artifacts["count"].uri == f"https://cdn.example/{chunk.index}.json"
        assert plant.notes(job_id, chunk.index) == ["began"]


@pytest.mark.parametrize(
    ("mood", "reason"),
    [
        ("raises", "LookupError: no such image"),
        ("retries", "ConnectionError: the site is away"),
        ("dies", "WorkerLostError"),
    ],
)
def test_a_failed_task_is_a_failed_attempt_and_is_retried(plant: Plant, caller: JobClient, mood: str, reason: str):
    job_id = caller.create_job("celery.moody", input={"mood": mood}, retry_policy=SOON).job.job_id
    job = ended(caller, job_id)
    assert (job.state, job.chunks[0].attempt) == (COMPLETED, 2)
    [reported] = failures(caller, job_id)
    assert reason in reported
    assert plant.notes(job_id) == ["began", "began"]


@pytest.mark.usefixtures("plant")
def test_a_task_that_gives_up_is_final(caller: JobClient):
    job = ended(caller, caller.create_job("celery.moody", input={"mood": "gives up"}).job.job_id)
    assert (job.state, job.error.code, job.chunks[0].attempt) == (FAILED, "GONE", 1)


@pytest.mark.usefixtures("plant")
def test_the_ledger_counts_the_attempts(caller: JobClient):
    once = RetryPolicy(max_attempts=1)
    job = ended(caller, caller.create_job("celery.moody", input={"mood": "retries"}, retry_policy=once).job.job_id)
    assert (job.state, job.error.code) == (FAILED, "ConnectionError"), "whatever Celery's max_retries is"


@pytest.mark.usefixtures("plant")
@pytest.mark.parametrize(
    ("kind", "code"), [("celery.soft", "SoftTimeLimitExceeded"), ("celery.hard", "TimeLimitExceeded")]
)
def test_a_time_limit_fails_the_attempt(caller: JobClient, kind: str, code: str):
    policy = RetryPolicy(initial_backoff=SOON.initial_backoff, max_attempts=100)
    job_id = caller.create_job(kind, retry_policy=policy).job.job_id
    job = ended(caller, job_id)
    reported = failures(caller, job_id)  # one, unless the machine stalled for so long in an attempt that does nothing
    assert (job.state, job.chunks[0].attempt) == (COMPLETED, 1 + len(reported))
    assert reported
    assert all(one.startswith(code) for one in reported)


def test_cancelling_asks_what_runs_and_revokes_what_is_queued(plant: Plant, caller: JobClient):
    job_id = caller.create_job("celery.gated", item_count=6, chunk_size=1).job.job_id
    begun(caller, job_id, 3)
    caller.cancel_job(job_id)
    job = ended(caller, job_id)
    assert (job.state, summary(job)) == (CANCELLED, {"total": 6, "cancelled": 6})
    notes = [plant.notes(job_id, index) for index in range(6)]
    assert sorted(notes) == [[], [], [], ["began", "cancelled"], ["began", "cancelled"], ["began", "cancelled"]]
    after = caller.create_job("celery.count").job.job_id
    assert ended(caller, after).state == COMPLETED, "the worker has heard what came before"
    revoked: set[str] = set()
    while len(revoked) < 3:
        revoked = {line for line in plant.log("shared") if "flagged as revoked" in line and job_id in line}
    assert len(revoked) == 3


def test_a_task_that_does_not_listen_is_interrupted(plant: Plant, caller: JobClient):
    job_id = caller.create_job("celery.deaf").job.job_id
    begun(caller, job_id)
    caller.cancel_job(job_id)
    assert ended(caller, job_id).state == CANCELLED
    assert plant.notes(job_id) == ["began", "interrupted"]


def test_a_task_that_comes_twice_is_done_once(plant: Plant, caller: JobClient):
    job_id = caller.create_job("celery.gated").job.job_id
    begun(caller, job_id)
    task_id = caller.get_job(job_id, view=JobView.FULL).chunks[0].task_id
    for same in (task_id, f"{job_id}:0:another"):
        app.send_task("jobledger.celery.gated", (job_id, 0), task_id=same)
    after = caller.create_job("celery.count").job.job_id
    assert ended(caller, after).state == COMPLETED, "the copies have had their turn"
    plant.say(job_id, "go")
    assert ended(caller, job_id).chunks[0].attempt == 1
    assert plant.notes(job_id) == ["began", "ended"]


def test_a_task_that_is_revoked_in_celery_is_a_failed_attempt(plant: Plant, caller: JobClient):
    once = RetryPolicy(max_attempts=1)
    job_id = caller.create_job("celery.deaf", retry_policy=once).job.job_id
    begun(caller, job_id)
    app.control.revoke(caller.get_job(job_id, view=JobView.FULL).chunks[0].task_id, terminate=True, signal="SIGKILL")
    job = ended(caller, job_id)
    assert (job.state, job.error.code) == (FAILED, "TaskRevoked")
    assert plant.notes(job_id) == ["began"]
