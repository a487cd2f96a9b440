"""The consumer: what the page polls, or gets from a watch. The answer is the same."""

from typing import TypedDict

from jobledger.v1.job_pb2 import Job, Progress
from jobledger_client import JobState

IN_WORK = (JobState.RUNNING, JobState.CANCELLING)


class Shown(TypedDict):
    """What the page shows of one mix; `stage` and `message` are empty unless it is in work.

    `place`, in the queue, `result_url` and `error` are None unless there is one.
    """

    state: str
    stage: str
    percent: float
    message: str
    place: int | None
    result_url: str | None
    error: str | None


def shown(job: Job) -> Shown:
    """Return what the page shows."""
    progress = job.progress if job.state in IN_WORK else Progress(percent=job.progress.percent)
    return Shown(
        state=JobState(job.state).name.lower(),
        stage=progress.stage,
        percent=progress.percent,
        message=progress.message,
        place=next((hold.place for hold in job.holds if hold.place), None),
        result_url=job.result_uri or None,
        error=job.error.message if job.HasField("error") else None,
    )
