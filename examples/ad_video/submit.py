"""The producer: a prompt and a duration become one job of one chunk a scene."""

from math import ceil

from jobledger.v1.job_pb2 import Job
from jobledger_client import JobClient

KIND = "ad.video"
SCENE_SECONDS = 2.0
PLAN = {"storyboard": 1, "frames": 8, "encode": 1}  # of each scene, with weights


def submit(client: JobClient, user: str, prompt: str, seconds: float, *, priority: int = 5) -> Job:
    """Create the job; the prompt is its display name, which is what people search for."""
    scenes = max(1, ceil(seconds / SCENE_SECONDS))
    return client.create_job(
        KIND,
        display_name=prompt,
        priority=priority,
        labels={"user": user},
        input={"prompt": prompt, "scenes": scenes},
        chunks=[{"scene": scene, "seconds": min(SCENE_SECONDS, seconds)} for scene in range(1, scenes + 1)],
        stages=PLAN,
    ).job
