"""The producer: the stems of a song become a job of one chunk."""

from collections.abc import Iterable

from jobledger.v1.job_pb2 import Job
from jobledger_client import JobClient

KIND = "audio.mix"
AT_ONCE = 2
"""Mixes in work at once, however many desks there are."""
STAGES = ["loading_stems", "aligning_stems", "processing_tracks", "mixing", "mastering", "exporting"]


def submit(client: JobClient, song: str, stems: Iterable[str]) -> Job:
    """Create the job of a song; the stems are names in the bucket."""
    return client.create_job(
        KIND,
        display_name=song,
        input={"song": song, "stems": list(stems)},
        stages=STAGES,
        limits={"kind": AT_ONCE},
    ).job
