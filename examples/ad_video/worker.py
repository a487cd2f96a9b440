"""A worker process: `python -m examples.ad_video.worker TARGET NAME BUCKET_FOLDER BUCKET_URL`."""

import sys
from datetime import timedelta
from pathlib import Path
from urllib.error import HTTPError

from jobledger_client import ChunkContext, RetryLater, Worker

from examples.bucket import Bucket

from . import model, scenes
from .submit import KIND


def serve(target: str, name: str, files: Bucket) -> None:
    """Make scenes until SIGTERM. What the page shows are artifacts of the job, reported as soon as they exist."""
    worker = Worker(target, name=name, concurrency=1)

    @worker.handler(KIND)
    def make_scene(ctx: ChunkContext) -> None:
        if ctx.is_finalizer:
            return join(ctx, files)
        scene, seconds, prompt = ctx.chunk_input["scene"], ctx.chunk_input["seconds"], ctx.input["prompt"]
        ctx.progress(stage="storyboard", message=storyboard(ctx, prompt, scene))
        if scene == 1:
            sound = scenes.soundtrack(ctx.input["seconds"])
            uri = files.put(f"{ctx.job_id}/audio.wav", sound)
            ctx.artifact("audio", uri=uri, content_type="audio/wav", size_bytes=len(sound), job=True)
        pictures = []
        for picture in scenes.frames(prompt, scene, seconds):
            pictures.append(picture)
            if scene == 1 and len(pictures) == 1:
                uri = files.put(f"{ctx.job_id}/thumbnail.png", scenes.thumbnail(picture))
                ctx.artifact("thumbnail", uri=uri, content_type="image/png", job=True)
            ctx.progress(stage="frames", stage_percent=100 * len(pictures) / (seconds * scenes.FRAMES))
            if ctx.cancelled:
                return None
        ctx.progress(stage="encode")
        video = scenes.encode(pictures)
        uri = files.put(f"{ctx.job_id}/scene_{scene}.gif", video)
        ctx.artifact(f"scene_{scene}", uri=uri, content_type="image/gif", size_bytes=len(video), job=True)
        return None

    worker.run()


def storyboard(ctx: ChunkContext, prompt: str, scene: int) -> str:
    """Ask the model; when it is busy, the next attempt begins when the model says."""
    try:
        return model.storyboard(prompt, scene, ctx.chunk.attempt)
    except HTTPError as error:
        if error.code != model.TOO_MANY_REQUESTS:
            raise
        wait = timedelta(seconds=int(error.headers["Retry-After"]))
        raise RetryLater(wait, "the model is busy", code="TOO_MANY_REQUESTS") from error


def join(ctx: ChunkContext, files: Bucket) -> None:
    """Join the scenes, which are all there."""
    names = [f"{ctx.job_id}/scene_{number}.gif" for number in range(1, ctx.input["scenes"] + 1)]
    whole = scenes.join([files.path(name).read_bytes() for name in names])
    ctx.result(files.put(f"{ctx.job_id}/video.gif", whole))


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], Bucket(Path(sys.argv[3]), sys.argv[4]))
