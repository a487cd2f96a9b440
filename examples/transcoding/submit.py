"""The producer: an uploaded file becomes a job of one chunk, which the engine's nine tasks work on."""

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from jobledger.v1.job_pb2 import Job
from jobledger_client import ChunkSpec, JobClient

from examples.bucket import Bucket

from .media import describe

KIND = "video.transcode"
TIME_LIMIT = timedelta(hours=6)
PLAN = {
    "validate": 5,
    "upload": 5,
    "thumbnail": 5,
    "transcode_360p": 25,
    "transcode_720p": 25,
    "extract_mp3": 10,
    "transcribe": 15,
    "hls": 5,
    "outputs": 5,
}


def submit(
    client: JobClient, files: Bucket, upload: str, *, priority: int = 5, metadata: Mapping[str, str] | None = None
) -> Job:
    """Create the job of an uploaded file, or return the one that has not ended; `metadata` is the caller's own.

    Its items are seconds of the video.
    """
    path = files.path(upload)
    source: dict[str, Any] = {
        "file": upload,
        "size_bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    source |= describe(path)
    seconds = max(1, round(source["duration_seconds"]))
    return client.create_job(
        KIND,
        display_name=path.name,
        priority=priority,
        labels=metadata,
        input=source,
        chunks=[ChunkSpec(item_count=seconds)],
        stages=PLAN,
        run_timeout=TIME_LIMIT,
        unique_key=source["sha256"],
    ).job
