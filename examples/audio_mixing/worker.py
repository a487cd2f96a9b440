"""The mixing desk: `python -m examples.audio_mixing.worker TARGET BUCKET_FOLDER BUCKET_URL`."""

import logging
import sys
import wave
from pathlib import Path

from jobledger_client import ChunkContext, NotRetryable, Worker

from examples.bucket import Bucket
from examples.speech_video.audio import save

from . import mix
from .submit import KIND

DESKS = 4
"""More than may be in work at once: the limit is the service's."""


def make_mix(ctx: ChunkContext, files: Bucket) -> None:
    """Make one mix, stage by stage."""
    names = ctx.input["stems"]
    ctx.progress(stage="loading_stems", message=f"{len(names)} stems")
    try:
        stems = [mix.read(files.path(name)) for name in names]
    except (wave.Error, FileNotFoundError) as error:
        raise NotRetryable(f"a stem cannot be read: {error}", code="BAD_STEM") from error
    ctx.progress(stage="aligning_stems")
    stems = [mix.aligned(stem) for stem in stems]
    ctx.progress(stage="processing_tracks")
    for done, stem in enumerate(stems):
        if ctx.cancelled:
            return
        ctx.progress(stage="processing_tracks", stage_percent=100 * done / len(stems), message=names[done])
        stems[done] = mix.levelled(stem)
    ctx.progress(stage="mixing")
    total = mix.mixed(stems)
    ctx.progress(stage="mastering")
    samples = mix.mastered(total)
    ctx.progress(stage="exporting")
    name = f"{ctx.job_id}/{ctx.input['song']}.wav"
    files.path(ctx.job_id).mkdir(exist_ok=True)
    save(files.path(name), samples)
    ctx.artifact("mix", uri=files.uri(name), content_type="audio/wav", size_bytes=files.size(name), job=True)
    ctx.result(files.uri(name))


def main(target: str, files: Bucket) -> None:
    """Serve until SIGTERM."""
    logging.basicConfig(level=logging.ERROR)  # a failed attempt is in the ledger
    worker = Worker(target, name="desk", concurrency=DESKS)

    @worker.handler(KIND)
    def handle(ctx: ChunkContext) -> None:
        make_mix(ctx, files)

    worker.run()


if __name__ == "__main__":
    main(sys.argv[1], Bucket(Path(sys.argv[2]), sys.argv[3]))
