"""The producer: a prompt and a duration become one job of one chunk a scene, and one that joins them."""

from math import ceil

from jobledger.v1.job_pb2 import Job
from jobledger_client import FinalizerSpec, JobClient

KIND = "ad.video"
SCENE_SECONDS = 2.0
PLAN = {"storyboard": 1, "frames": 8, "encode": 1}  # of each scene, with weights

JOIN_WEIGHT = 0.1  # joining the scenes takes a tenth of a scene


def submit(client: JobClient, user: str, prompt: str, seconds: float, *, priority: int = 5) -> Job:
    """Create the job; the prompt is its display name, which is what people search for."""
    scenes = max(1, ceil(seconds / SCENE_SECONDS))
    lengths = [min(SCENE_SECONDS, seconds - SCENE_SECONDS * before) for before in range(scenes)]
    return client.create_job(
        KIND,
        display_name=prompt,
        priority=priority,
        labels={"user": user},
        input={"prompt": prompt, "scenes": scenes, "seconds": seconds},
        chunks=[{"scene": scene, "seconds": length} for scene, length in enumerate(lengths, 1)],
        finalizer=FinalizerSpec(weight=JOIN_WEIGHT),
        stages=PLAN,
    ).job
