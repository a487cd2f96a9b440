"""A worker process: `python -m examples.replicas.worker TARGET NAME`."""

import asyncio
import random
import sys
from datetime import timedelta

from jobledger_client import ChunkContext, Worker

KIND = "demo.replicas"
STEPS = 5
LONGEST = 0.1  # seconds that one step takes, at most


def serve(target: str, name: str) -> None:
    """Work on chunks until SIGTERM: each takes a few steps, which wait for what a real one would do."""
    worker = Worker(
        target,
        name=name,
        concurrency=4,
        lease_duration=timedelta(seconds=3),
        claim_wait=timedelta(seconds=5),
        drain_timeout=timedelta(seconds=2),
    )

    @worker.handler(KIND)
    async def step_by_step(ctx: ChunkContext) -> None:
        for step in range(1, STEPS + 1):
            await asyncio.sleep(random.uniform(0, LONGEST))  # noqa: S311  no secret
            ctx.progress(percent=100 * step / STEPS, message=f"step {step} at {name}")

    worker.run()


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])
