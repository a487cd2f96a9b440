"""The producer: cuts the audio, stores the segments, and creates one job of as many chunks and one that joins them."""

from datetime import timedelta
from pathlib import Path

from jobledger.v1.job_pb2 import Job
from jobledger_client import JobClient, RetryPolicy

from examples.bucket import Bucket

from .audio import FRAMES, STEP, cut, load, loudness, save

KIND = "speech.video"
GPU_LEASE = timedelta(seconds=10)  # how long a pod may be silent
GPU_TIME = timedelta(minutes=5)  # how long it may take for a segment: each minute is paid for


def submit(client: JobClient, files: Bucket, speech: Path, job_id: str) -> Job:
    """Create the job of one audio file. Doing it again answers with the same job."""
    samples = load(speech)
    chunks = []
    for index, segment in enumerate(cut(loudness(samples))):
        name = f"{job_id}/segment-{index}.wav"
        files.path(job_id).mkdir(parents=True, exist_ok=True)
        save(files.path(name), samples[segment.start * STEP : segment.end * STEP])
        chunks.append({"segment_id": f"{job_id}-{index}", "audio": name, "start_second": segment.start / FRAMES})
    return client.create_job(
        KIND,
        job_id=job_id,
        display_name=speech.name,
        chunks=chunks,
        finalizer={},
        attempt_timeout=GPU_TIME,
        retry_policy=RetryPolicy(max_attempts=3, initial_backoff=timedelta(milliseconds=200)),
    ).job
