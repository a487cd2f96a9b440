"""The consumer: what the page shows of one job, and the tabs that list a user's jobs."""

from datetime import datetime
from typing import TypedDict

from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import ListJobsResponse
from jobledger_client import JobClient, JobOrder, JobState, Pages

from .submit import KIND

TABS = {
    "pending": [JobState.QUEUED],
    "processing": [JobState.RUNNING, JobState.CANCELLING],
    "completed": [JobState.COMPLETED],
    "failed": [JobState.FAILED],
}
MAX_PAGE_SIZE = 100
"""Jobs on a page; the service itself gives up to 500."""


class Shown(TypedDict):
    """One job on the page. What does not exist yet is None, or not in `scenes`."""

    state: str
    percent: float
    stage: str
    thumbnail: str | None
    audio: str | None
    scenes_completed: int
    scenes: dict[str, str]
    video: str | None


def shown(job: Job) -> Shown:
    """Return what the page shows. Every message of a watch has it all, so that the page asks for nothing more."""
    done = job.chunks_summary.completed - (job.state == JobState.COMPLETED)  # the last chunk joins the scenes
    uris = {name: artifact.uri for name, artifact in job.artifacts.items()}
    return Shown(
        state=JobState(job.state).name,
        percent=job.progress.percent,
        stage=f"scene_{done}_complete" if done else job.progress.stage,
        thumbnail=uris.get("thumbnail"),
        audio=uris.get("audio"),
        scenes_completed=done,
        scenes={name: uris[name] for name in sorted(uris, key=_number) if name.startswith("scene_")},
        video=job.result_uri or None,
    )


def _number(name: str) -> int:
    """Return the number at the end of an artifact's name, 0 without one: scene_10 comes after scene_9."""
    number = name.rpartition("_")[2]
    return int(number) if number.isdecimal() else 0


def tab(
    client: JobClient,
    user: str,
    *names: str,
    search: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
    order: JobOrder = JobOrder.CREATE_TIME_DESC,
    page_size: int = 20,
    page_token: str = "",
) -> Pages[ListJobsResponse, Job]:
    """List a user's jobs in a tab, newest first, or in several tabs together; without a name in all of them.

    `search` looks in the prompts, `since` and `until` are times of creation, `page_size` is 1 to 100.
    """
    if not 1 <= page_size <= MAX_PAGE_SIZE:
        raise ValueError(f"page_size: {page_size} is not from 1 to {MAX_PAGE_SIZE}")
    return client.list_jobs(
        kinds=[KIND],
        labels={"user": user},
        states=[state for name in names for state in TABS[name]],
        search=search,
        create_time=(since, until),
        order=order,
        page_size=page_size,
        page_token=page_token,
    )
