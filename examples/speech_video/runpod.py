"""RunPod, pretended: `python -m examples.speech_video.runpod TARGET BUCKET_FOLDER BUCKET_URL`.

`render` is what a team's own handler on RunPod would be.
"""

import logging
import sys
from pathlib import Path

from jobledger_client import ChunkContext, ChunkNotClaimableError, EngineRunner

from examples.bucket import Bucket
from examples.engine import Run, serve

from . import face
from .audio import load, loudness
from .submit import GPU_LEASE

PODS = 3


def render(ctx: ChunkContext, files: Bucket) -> None:
    """Make the video of one segment; or, as the finalizer, join them: they are all there."""
    if ctx.is_finalizer:
        names = [f"{ctx.job_id}/segment-{index}.y4m" for index in range(ctx.chunk.index)]
        ctx.result(files.put(f"{ctx.job_id}/video.y4m", face.join([files.path(name).read_bytes() for name in names])))
        return
    if ctx.chunk.attempt == 1 and ctx.chunk.index == 1:
        raise MemoryError("CUDA out of memory")  # rented GPUs do this
    levels = loudness(load(files.path(ctx.chunk_input["audio"])))
    frames = []
    for done, level in enumerate(levels, start=1):
        frames.append(face.frame(level))
        ctx.progress(percent=100 * done / len(levels))
        if ctx.cancelled:
            return
    name = f"{ctx.job_id}/segment-{ctx.chunk.index}.y4m"
    uri = files.put(name, face.join(frames))
    ctx.artifact("video", uri=uri, content_type="video/x-yuv4mpeg", size_bytes=files.size(name))


def main(target: str, files: Bucket) -> None:
    """Serve runs until SIGTERM."""
    logging.basicConfig(level=logging.ERROR)  # a failed attempt is in the ledger
    runner = EngineRunner(target, name="runpod", lease_duration=GPU_LEASE)

    def handle(run: Run) -> None:
        try:
            with runner.attempt(run.input["job_id"], run.input["chunk_index"], task_id=run.run_id) as ctx:
                render(ctx, files)
        except (ChunkNotClaimableError, MemoryError) as error:
            print(f"{run.run_id}: {error}", file=sys.stderr)

    serve("runpod", handle, PODS)


if __name__ == "__main__":
    main(sys.argv[1], Bucket(Path(sys.argv[2]), sys.argv[3]))
