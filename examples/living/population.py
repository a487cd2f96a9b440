"""The jobs that are created, again and again, and what each kind does."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Final

from jobledger_client import FailurePolicy, JobClient, RetryPolicy

BUCKET: Final = "https://storage.example.org"
_NAMES: Final = (
    "holiday",
    "launch",
    "interview",
    "keynote",
    "trailer",
    "tutorial",
    "concert",
    "harbour",
    "winter",
    "market",
)
_TEAMS: Final = ("search", "media", "growth", "research")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of job: its stages with their weights, how long a chunk takes, and what goes wrong how often."""

    name: str
    title: str
    items: tuple[int, int]
    chunk_size: int
    stages: Mapping[str, float]
    chunk_seconds: tuple[float, float]
    failures: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    """How likely a chunk fails with a code, and its message."""
    artifact: tuple[str, str] = ("", "")
    """The name and the content type of what a chunk makes."""


KINDS: Final = (
    Kind(
        "crawl.images", "Images of {name}.example.org", (1_000, 12_000), 50, {"fetch": 3, "decode": 1, "store": 1},
        (0.5, 2.0), {"HTTP_503": (0.05, "the site answered 503 after 3 tries"), "IMAGE_BROKEN": (0.01, "not an image")},
        ("thumbnails.png", "image/png"),
    ),
    Kind(
        "transcode.video", "{name}.mov to 1080p and 720p", (12, 60), 1,
        {"probe": 1, "transcode_1080p": 12, "transcode_720p": 7, "thumbnails": 2}, (2.0, 8.0),
        {"CUDA_OUT_OF_MEMORY": (0.08, "tried to allocate 2.4 GiB"), "CODEC_UNSUPPORTED": (0.01, "prores 4444")},
        ("preview.mp4", "video/mp4"),
    ),
    Kind(
        "speech.transcribe", "Transcript of {name}.wav", (120, 1_800), 60, {"split": 1, "recognise": 8, "align": 2},
        (1.5, 5.0), {"MODEL_TIMEOUT": (0.06, "no answer from the model within 30 s")}, ("transcript.vtt", "text/vtt"),
    ),
    Kind(
        "report.daily", "Daily report for the {name} team", (1, 8), 1, {"query": 2, "render": 1}, (1.5, 5.0),
        {"QUERY_CANCELLED": (0.25, "canceling statement due to statement timeout")}, ("report.pdf", "application/pdf"),
    ),
)  # fmt: skip

_numbers = count(1)


def create_large(client: JobClient) -> None:
    """Create a job with many chunks."""
    client.create_job(
        KINDS[0].name,
        job_id="crawl-of-an-archive",
        display_name="Images of archive.example.org",
        item_count=60_000,
        chunk_size=50,
        stages=KINDS[0].stages,
        labels={"team": "research", "source": "archive"},
    )


def create_one(client: JobClient, chance: random.Random, kind: Kind | None = None) -> str:
    """Create a job of a kind, any unless one is given, and return its id."""
    kind = kind or chance.choices(KINDS, weights=(3, 3, 3, 4))[0]
    name = chance.choice(_NAMES)
    number = next(_numbers)
    created = client.create_job(
        kind.name,
        job_id=f"{kind.name.replace('.', '-')}-{chance.getrandbits(24):06x}-{number}",
        display_name=kind.title.format(name=name),
        priority=chance.choices((2, 5, 8), weights=(2, 6, 2))[0],
        item_count=chance.randint(*kind.items),
        chunk_size=kind.chunk_size,
        stages=kind.stages,
        labels={"team": chance.choice(_TEAMS), "source": name},
        input={"source": f"{BUCKET}/in/{name}", "quality": chance.choice(["draft", "final"])},
        retry_policy=RetryPolicy(
            max_attempts=3, initial_backoff=timedelta(seconds=2), max_backoff=timedelta(seconds=15)
        ),
        failure_policy=FailurePolicy.FAIL_FAST if kind.name == "transcode.video" else None,
        schedule_time=timedelta(minutes=3) if chance.random() < 0.05 else None,  # noqa: PLR2004 - one in twenty
    )
    return created.job.job_id
