"""A worker process: `python -m examples.stdlib_hash.worker TARGET NAME`."""

import sys
from datetime import timedelta

from jobledger_client import ChunkContext, Worker

from .sources import KIND, Totals, count, sources


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
        last = ctx.last_checkpoint  # of an attempt whose worker was killed
        done, totals = (int(last["done"]), Totals.of(last["totals"])) if last else (0, Totals())
        for item in ctx.items[done:]:
            if ctx.cancelled:
                return
            totals, done = totals + count(files[item]), done + 1
            ctx.progress(items_completed=done, message=files[item].name)
            ctx.checkpoint({"done": done, "totals": totals.values})
        ctx.output = totals.values

    worker.run()


if __name__ == "__main__":
    serve(*sys.argv[1:])
