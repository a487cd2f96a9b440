"""The example: `python -m examples.audio_mixing`."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from jobledger_client import TERMINAL_STATES, JobClient, JobState, JobView, WatchMode

from examples import processes
from examples.bucket import Bucket, bucket
from examples.processes import say

from .mix import synthesise
from .page import shown
from .submit import AT_ONCE, KIND, limit, submit

SONGS = ["overture", "ballad", "march", "waltz"]
PITCHES = [110.0, 220.0, 330.0]


def start(stack: ExitStack, target: str, folder: Path) -> Bucket:
    """Start the desk; return the bucket that it shares with the others."""
    files = stack.enter_context(bucket(folder / "bucket"))
    stack.enter_context(processes.worker("examples.audio_mixing.worker", target, files.folder, files.url))
    return files


def make_stems(files: Bucket, song: str, seconds: float) -> list[str]:
    """Make the stems of a song, which do not begin together; return their names."""
    names = [f"stems/{song}-{number}.wav" for number in range(len(PITCHES))]
    for number, (name, pitch) in enumerate(zip(names, PITCHES, strict=True)):
        synthesise(files.path(name), pitch, seconds, late=400 * number)
    return names


def in_work(client: JobClient, cursor: bytes, songs: int) -> Iterator[int]:
    """Follow all mixes until so many have ended, and yield how many are in work after each change."""
    states: dict[str, int] = {}
    with client.watch_jobs(kinds=[KIND], cursor=cursor, mode=WatchMode.EVERY) as messages:
        for message in messages:
            states[message.job.job_id] = message.job.state
            yield list(states.values()).count(JobState.RUNNING)
            if sum(state in TERMINAL_STATES for state in states.values()) == songs:
                return


def run(stack: ExitStack, target: str, folder: Path) -> None:
    """Mix four songs, two at a time."""
    client = stack.enter_context(JobClient(target))
    cursor = client.list_jobs(page_size=1).page().cursor
    limit(client)
    files = start(stack, target, folder)
    jobs = [submit(client, song, make_stems(files, song, 2)) for song in SONGS]
    max_running = max(in_work(client, cursor, len(jobs)))
    say(f"{len(jobs)} mixes; never more than {max_running} in work at once.")
    for job in jobs:
        say(f"  {job.display_name}: {json.dumps(shown(client.get_job(job.job_id, view=JobView.BASIC)))}")
    if max_running > AT_ONCE or any(client.get_job(job.job_id).result_uri == "" for job in jobs):
        raise SystemExit("the mixes are not what was asked for")


if __name__ == "__main__":
    processes.play("audio_mixing", run)
