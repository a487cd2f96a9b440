"""The producer: the stems of a song become a job of one chunk."""

from collections.abc import Iterable

from jobledger.v1.job_pb2 import Job
from jobledger_client import JobClient, for_kind

KIND = "audio.mix"
AT_ONCE = 2
"""Mixes in work at once, however many desks there are."""
STAGES = ["loading_stems", "aligning_stems", "processing_tracks", "mixing", "mastering", "exporting"]


def limit(client: JobClient, kind: str = KIND) -> None:
    """Let so many mixes be in work at once, as the operator does: `jobledger limits set --kind audio.mix 2`."""
    client.limits.set_limit(for_kind(kind), AT_ONCE)


def submit(client: JobClient, song: str, stems: Iterable[str]) -> Job:
    """Create the job of a song; the stems are names in the bucket."""
    return client.create_job(
        KIND,
        display_name=song,
        input={"song": song, "stems": list(stems)},
        stages=STAGES,
    ).job
