"""The example: `python -m examples.transcoding`."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta

from jobledger.v1.job_pb2 import Job
from jobledger_client import ExportFormat, JobClient, JobNotFoundError, JobOrder, JobState, JobView, RateLimitedError

from examples import processes
from examples.bucket import read
from examples.processes import say, show

from . import console, media
from .console import BOUND
from .studio import READS, Studio, start
from .submit import KIND, submit

CANCEL_AT = 20.0
GRACE = timedelta(hours=1)


def line(job: Job) -> str:
    """Return what a progress bar shows."""
    progress = job.progress
    eta = f", done at {progress.eta.ToDatetime():%H:%M:%S}" if progress.HasField("eta") else ""
    return f"{progress.percent:5.1f} %  {progress.stage:<15} {progress.stage_percent:5.1f} %{eta}"


def cancel_midway(client: JobClient, job: Job, cancel: Callable[[str], object]) -> Job:
    """Follow a job and cancel it on the way; its DAG run is stopped."""
    asked = False
    for message in client.watch(job.job_id, timeout=processes.LIMIT):
        job = message.job
        if job.progress.percent >= CANCEL_AT and not asked:
            asked = True
            cancel(job.job_id)
            say(f"  {line(job)}: cancelled, with an hour of grace")
    return job


def finish_one(studio: Studio) -> Job:
    """Transcode a video to its end; the receiver of webhooks is away when the first of them comes."""
    studio.inbox.outages = 1
    media.make(studio.files.path("uploads/holiday.y4m"), 2)
    job = submit(studio.client, studio.files, "uploads/holiday.y4m", metadata={"album": "2026"})
    for message in studio.client.watch(job.job_id):
        say(f"  {line(message.job)}")
    job = studio.client.get_job(job.job_id, view=JobView.FULL)
    show("GetJob answers", job)
    if job.state != JobState.COMPLETED or b"720p" not in read(job.result_uri):
        raise SystemExit("the job did not complete")
    studio.inbox.wait(job.job_id, "job.completed", BOUND)
    again = len(studio.inbox.attempts) - len(studio.inbox.events)
    say(f"\nWebhooks, signed and verified: {', '.join(studio.inbox.of(job.job_id))}; {again} came again")
    return job


def cancel_one(studio: Studio) -> None:
    """Cancel a longer one on its way."""
    say("\nA longer one, to be cancelled:")
    media.make(studio.files.path("uploads/long.y4m"), 6)

    def cancel(job_id: str) -> None:
        studio.client.cancel_job(job_id, reason="the wrong file", grace_period=GRACE)

    job = cancel_midway(studio.client, submit(studio.client, studio.files, "uploads/long.y4m"), cancel)
    say(f"  {JobState(job.state).name} at {job.progress.percent:.0f} %, as soon as the engine had stopped its run")
    if job.state != JobState.CANCELLED or studio.airflow.running():
        raise SystemExit("the job was not cancelled")


def fail_one(studio: Studio) -> None:
    """Submit what is no video."""
    studio.files.put("uploads/letter.y4m", b"Dear Sir or Madam,")
    job = submit(studio.client, studio.files, "uploads/letter.y4m")
    error = studio.inbox.wait(job.job_id, "job.failed", BOUND)["data"]["error"]
    say(f"\njob.failed, as the webhook tells it: {error['code']} in {error['stage']}: {error['message']}")


def look(studio: Studio) -> None:
    """Ask what a console asks."""
    client = studio.client
    page = client.list_jobs(kinds=[KIND], order=JobOrder.UPDATE_TIME_DESC, page_size=100).page()
    say(f"\n{page.total_size} jobs: {asdict(console.figures(client))}")
    batch = client.batch_get_jobs([job.job_id for job in page.jobs], view=JobView.STATUS)
    say(f"In one batch: {', '.join(JobState(job.state).name for job in batch.jobs)}")
    say(f"\nAs CSV:\n{console.export(client, ExportFormat.CSV).decode()}")
    say(f"Health: {console.health(studio)}")


def keep_out(studio: Studio, job: Job) -> None:
    """Let somebody else's key look for the job, again and again."""
    for count in range(READS + 1):
        try:
            studio.rival.get_job(job.job_id, timeout=timedelta(seconds=10))
        except JobNotFoundError:
            continue
        except RateLimitedError as error:
            say(f"\nAnother owner's key found nothing {count} times; then: {error.message}")
            return
    raise SystemExit("the other key was not kept out")


def clear(studio: Studio, job: Job) -> None:
    """Delete the job with its files."""
    deletion = console.delete(studio.client, job.job_id)
    studio.client.wait(deletion.job_id, timeout=processes.LIMIT)
    remaining = list(studio.files.path(job.job_id).iterdir())
    say(f"\nDeleted with {deletion.progress.items_total} files; {len(remaining)} are left.")
    if remaining or studio.files.path("uploads/holiday.y4m").exists():
        raise SystemExit("files are left")


def main() -> None:
    """Transcode one video, cancel one, fail one, and look at them as their owner, an operator and a stranger do."""
    with processes.stage("transcoding") as (stack, folder):
        studio = start(stack, folder)
        job = finish_one(studio)
        cancel_one(studio)
        fail_one(studio)
        look(studio)
        keep_out(studio, job)
        clear(studio, job)
        key_id = studio.key.api_key.key_id
        say(f"\nUsage of the key {key_id}: {console.usage(studio.operator, key_id)}")


if __name__ == "__main__":
    main()
