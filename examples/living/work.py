"""The worker: it simulates chunks, with stages, progress, artifacts, failures and, now and then, too long a silence."""

import asyncio
import logging
import random
import sys
from typing import Final

from jobledger_client import ChunkContext, Worker

from .population import BUCKET, KINDS, Kind

_STEPS: Final = 6
_CONCURRENCY: Final = 5


class ChunkError(Exception):
    """What goes wrong with a chunk; the class of the error is its code."""


async def simulate(context: ChunkContext, kind: Kind, chance: random.Random) -> None:
    """Go through the stages of a chunk; fail as often as chunks of this kind do."""
    total = chance.uniform(*kind.chunk_seconds)
    weights = sum(kind.stages.values())
    trouble = next((code for code, (likely, _) in kind.failures.items() if chance.random() < likely), None)
    fails_in = chance.choice(list(kind.stages))
    for stage, weight in kind.stages.items():
        for step in range(_STEPS):
            context.progress(stage=stage, stage_percent=100.0 * step / _STEPS, message=f"{stage} on {context.job_id}")
            await asyncio.sleep(total * weight / weights / _STEPS)
            if context.cancelled:
                return
        if trouble is not None and stage == fails_in:
            raise type(trouble, (ChunkError,), {})(kind.failures[trouble][1])
    name, content_type = kind.artifact
    uri = f"{BUCKET}/out/{context.job_id}/{context.chunk.index}/{name}"
    context.artifact(name, uri=uri, content_type=content_type, size_bytes=chance.randint(20_000, 4_000_000))
    if context.chunk.index == 0:
        context.artifact(name, uri=uri, content_type=content_type, job=True)


def worker(target: str, name: str) -> Worker:
    """Return a worker for all kinds."""
    made = Worker(target, name=name, concurrency=_CONCURRENCY, version="2026.11")
    chance = random.Random(name)  # noqa: S311 - a simulation
    for kind in KINDS:

        @made.handler(kind.name)
        async def handle(context: ChunkContext, kind: Kind = kind) -> None:
            await simulate(context, kind, chance)

    return made


if __name__ == "__main__":
    logging.getLogger("jobledger_client").addHandler(logging.NullHandler())  # its failures are meant
    logging.getLogger("jobledger_client").propagate = False
    worker(sys.argv[1], sys.argv[2]).run()
