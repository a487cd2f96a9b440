"""A worker process: `python -m examples.stdlib_hash.worker TARGET NAME FOLDER`."""

import json
import sys
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from jobledger_client import ChunkContext, Worker

from .sources import KIND, count_all, sources


def serve(target: str, name: str, folder: Path) -> None:
    """Hash chunks until SIGTERM; what a chunk adds up to is an artifact, a file in `folder`."""
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
        if ctx.cancelled:
            return
        result = folder / f"{ctx.job_id}-{ctx.chunk.index}.json"
        result.write_text(json.dumps(asdict(totals)))
        ctx.artifact("totals", uri=result.as_uri(), content_type="application/json", metadata={"files": totals.files})

    worker.run()


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
