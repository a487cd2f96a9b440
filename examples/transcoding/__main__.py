"""The example: `python -m examples.transcoding`."""

from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from jobledger.v1.job_pb2 import Job, JobState
from jobledger_client import JobClient

from examples import processes
from examples.bucket import Bucket, bucket, read
from examples.processes import say

from . import media
from .submit import KIND, submit

CANCEL_AT = 20.0


def start(stack: ExitStack, target: str, folder: Path) -> Bucket:
    """Start the engine, and what links it to Jobledger; return the bucket that all share."""
    files = stack.enter_context(bucket(folder / "bucket"))
    airflow = stack.enter_context(processes.engine("examples.transcoding.airflow", target, files.folder, files.url))
    stack.enter_context(processes.worker("examples.engine_link", target, airflow, KIND))
    return files


def line(job: Job) -> str:
    """Return what a progress bar shows."""
    progress = job.progress
    eta = f", done at {progress.eta.ToDatetime():%H:%M:%S}" if progress.HasField("eta") else ""
    return f"{progress.percent:5.1f} %  {progress.stage:<15} {progress.stage_percent:5.1f} %{eta}"


def cancel_midway(client: JobClient, job: Job) -> Job:
    """Follow a job and cancel it on the way; its DAG run is stopped."""
    asked = False
    for message in client.watch(job.job_id):
        job = message.job
        if job.progress.percent >= CANCEL_AT and not asked:
            asked = True
            client.cancel_job(job.job_id, reason="the wrong file", grace_period=timedelta(hours=1))
            say(f"  {line(job)}: cancelled, with an hour of grace")
    return job


def run(stack: ExitStack, target: str, folder: Path) -> None:
    """Transcode a video to its end, and cancel a second one on the way."""
    files = start(stack, target, folder)
    client = stack.enter_context(JobClient(target))
    media.make(files.path("uploads/holiday.y4m"), 2)
    job = submit(client, files, "uploads/holiday.y4m", metadata={"album": "2026"})
    for message in client.watch(job.job_id):
        say(f"  {line(message.job)}")
    job = client.get_job(job.job_id)
    processes.show("GetJob answers", job)
    if job.state != JobState.JOB_STATE_COMPLETED or b"720p" not in read(job.result_uri):
        raise SystemExit("the job did not complete")
    say("\nA longer one, to be cancelled:")
    media.make(files.path("uploads/long.y4m"), 6)
    job = cancel_midway(client, submit(client, files, "uploads/long.y4m"))
    say(f"  {JobState.Name(job.state)} at {job.progress.percent:.0f} %, as soon as the engine had stopped its run")
    if job.state != JobState.JOB_STATE_CANCELLED:
        raise SystemExit("the job was not cancelled")


if __name__ == "__main__":
    processes.play("transcoding", run)
