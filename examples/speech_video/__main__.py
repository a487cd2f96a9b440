"""The example: `python -m examples.speech_video`."""

from contextlib import ExitStack
from pathlib import Path

from jobledger_client import JobClient, JobState, JobView

from examples import processes
from examples.bucket import Bucket, bucket, read
from examples.processes import say

from .audio import load, loudness, synthesise
from .face import frames_in
from .submit import KIND, submit

SENTENCES = [1.2, 2.0, 0.8, 1.6, 1.0]


def start(stack: ExitStack, target: str, folder: Path) -> Bucket:
    """Start the pods, and what links them to Jobledger; return the bucket that all share."""
    files = stack.enter_context(bucket(folder / "bucket"))
    runpod = stack.enter_context(processes.engine("examples.speech_video.runpod", target, files.folder, files.url))
    stack.enter_context(processes.worker("examples.engine_link", target, runpod, KIND))
    return files


def run(stack: ExitStack, target: str, folder: Path) -> None:
    """Cut a speech into segments, have them rendered, and follow the job to its video."""
    files = start(stack, target, folder)
    client = stack.enter_context(JobClient(target))
    speech = folder / "speech.wav"
    synthesise(speech, SENTENCES)
    job = submit(client, files, speech, "speech-1")
    say(f"{speech.name} has {job.chunks_summary.total - 1} segments.")
    for message in client.watch(job.job_id):
        counts = message.job.chunks_summary
        say(f"  {message.job.progress.percent:5.1f} %: {counts.completed} completed, {counts.processing} processing")
    job = client.get_job(job.job_id, view=JobView.FULL)
    processes.show("GetJob answers", job)
    if job.state != JobState.COMPLETED:
        raise SystemExit("the job did not complete")
    frames = frames_in(read(job.result_uri))
    expected = len(loudness(load(speech)))
    say(f"\nThe video at {job.result_uri} has {frames} frames, the speech {expected}.")
    if frames != expected:
        raise SystemExit("the video is not as long as the speech")


if __name__ == "__main__":
    processes.play("speech_video", run)
