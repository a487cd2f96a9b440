"""The example: `python -m examples.ad_video`."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from jobledger_client import JobClient, JobOrder, JobView

from examples import processes
from examples.bucket import Bucket, bucket, read
from examples.processes import say

from .page import TABS, Shown, shown, tab
from .scenes import FRAMES, frames_in
from .submit import submit

PROMPT = "A bicycle that sings crosses the city at dawn"
SECONDS = 8.0


def start(stack: ExitStack, target: str, folder: Path) -> Bucket:
    """Start two workers; return the bucket that all share."""
    files = stack.enter_context(bucket(folder / "bucket"))
    for name in ("studio-1", "studio-2"):
        stack.enter_context(processes.worker("examples.ad_video.worker", target, name, files.folder, files.url))
    return files


def follow(client: JobClient, job_id: str) -> Iterator[Shown]:
    """Follow a job to its end, and yield what the page shows, one after another."""
    for message in client.watch(job_id):
        yield shown(message.job)


def run(stack: ExitStack, target: str, folder: Path) -> None:
    """Make one advertisement, show the page while it is made, and then the tabs."""
    start(stack, target, folder)
    client = stack.enter_context(JobClient(target))
    job = submit(client, "ada", PROMPT, SECONDS)
    for page in follow(client, job.job_id):
        first = {"thumbnail": page["thumbnail"], "audio": page["audio"]}
        made = ", ".join([*(name for name, uri in first.items() if uri), *page["scenes"]]) or "nothing yet"
        say(f"  {page['percent']:5.1f} %  {page['stage']:<18} {page['scenes_completed']} scenes; there is {made}")
    page = shown(client.get_job(job.job_id, view=JobView.BASIC))
    say(f"\nThe page shows:\n{json.dumps(page, indent=2)}\n")
    say(f"  tab {'all':<11} {tab(client, 'ada').page().total_size}")
    for name in TABS:
        say(f"  tab {name:<11} {tab(client, 'ada', name).page().total_size}")
    today = datetime.now(tz=UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    ended_today = tab(
        client, "ada", "completed", "failed", search="sing city", since=today, order=JobOrder.END_TIME_DESC
    )
    say(f"  ended today, with the words sing… and city…: {', '.join(job.display_name for job in ended_today)}")
    if page["video"] is None:
        raise SystemExit("the job has no video")
    frames = frames_in(read(page["video"]))
    say(f"\nThe video has {frames} frames.")
    if frames != SECONDS * FRAMES:
        raise SystemExit(f"the video should have {SECONDS * FRAMES:.0f} frames")


if __name__ == "__main__":
    processes.play("ad_video", run)
