"""A worker process: `python -m examples.stdlib_hash.worker TARGET NAME`."""

import sys
from dataclasses import asdict
from datetime import timedelta

from jobledger_client import ChunkContext, Worker

from .sources import KIND, count_all, sources


def serve(target: str, name: str) -> None:
    """Hash chunks until SIGTERM; what a chunk adds up to is its output."""
    files = sources()
    worker = Worker(
        target,
        name=name,
        concurrency=2,
        lease_duration=timedelta(seconds=3),
        claim_wait=timedelta(seconds=5),
        drain_timeout=timedelta(seconds=2),
    )

    @worker.handler(KIND)
    def count_chunk(ctx: ChunkContext) -> None:
        mine = [files[item] for item in ctx.items]

        def after_each(done: int) -> bool:
            ctx.progress(items_completed=done, message=mine[done - 1].name)
            return not ctx.cancelled

        totals = count_all(mine, after_each)
        ctx.output = {**asdict(totals), "digest": str(totals.digest)}  # larger than the integers that JSON keeps exact

    worker.run()


if __name__ == "__main__":
    serve(*sys.argv[1:])
