"""A worker process: `python -m examples.ad_video.worker TARGET NAME BUCKET_FOLDER BUCKET_URL`."""

import sys
from pathlib import Path

from jobledger_client import ChunkContext, Worker

from examples.bucket import Bucket

from . import scenes
from .submit import KIND


def serve(target: str, name: str, files: Bucket) -> None:
    """Make scenes until SIGTERM. What the page shows are artifacts of the job, reported as soon as they exist."""
    worker = Worker(target, name=name, concurrency=1)

    @worker.handler(KIND)
    def make_scene(ctx: ChunkContext) -> None:
        scene, seconds, prompt = ctx.chunk_input["scene"], ctx.chunk_input["seconds"], ctx.input["prompt"]
        ctx.progress(stage="storyboard")
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
                return
        ctx.progress(stage="encode")
        finish(ctx, files, scene, scenes.encode(pictures))

    worker.run()


def finish(ctx: ChunkContext, files: Bucket, scene: int, video: bytes) -> None:
    """Store a scene; the one that finds all scenes there joins them."""
    uri = files.put(f"{ctx.job_id}/scene_{scene}.gif", video)
    ctx.artifact(f"scene_{scene}", uri=uri, content_type="image/gif", size_bytes=len(video), job=True)
    names = [f"{ctx.job_id}/scene_{number}.gif" for number in range(1, ctx.input["scenes"] + 1)]
    if files.has_all(names):
        whole = scenes.join([files.path(name).read_bytes() for name in names])
        ctx.result(files.put(f"{ctx.job_id}/video.gif", whole))


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], Bucket(Path(sys.argv[3]), sys.argv[4]))
