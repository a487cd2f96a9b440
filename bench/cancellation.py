"""Cancellation: `python -m bench.cancellation` shows how soon a handler knows that its job is cancelled."""

import asyncio
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Final

from jobledger_client import AsyncJobClient, ChunkContext, Worker

from .databases import fresh
from .processes import ROOT, jobledger
from .report import circumstances, parser_of, rows, run_benchmark, write_json
from .targets import percentiles

LATEST: Final = ROOT / "bench" / "results" / "cancellation.json"
IDLE: Final = (0, 100)
"""How many further chunks the worker holds, whose handlers wait."""
MAX_PAUSE: Final = 1.0
"""Seconds after which a job is cancelled at the latest when its handler has begun; the rounds begin at 0, evenly."""


class Cancelled:
    """A worker that holds `idle` chunks, and jobs that are cancelled under it one after the other."""

    def __init__(self, target: str, idle: int) -> None:
        self._client = AsyncJobClient(target)
        self._idle = idle
        self._kind = f"bench.cancelled-{idle}"
        self._worker = Worker(target, concurrency=idle + 1)
        self._worker.handler(self._kind)(self._handle)
        self._begun: asyncio.Queue[str] = asyncio.Queue()
        self._known: defaultdict[str, asyncio.Future[float]] = defaultdict(asyncio.Future)

    async def _handle(self, ctx: ChunkContext) -> None:
        self._begun.put_nowait(ctx.job_id)
        await ctx.until_cancelled()
        if not self._known[ctx.job_id].done():
            self._known[ctx.job_id].set_result(perf_counter())

    async def measure(self, rounds: int) -> list[float]:
        """Return, for each round, the seconds from the answer to CancelJob until the handler knew of it."""
        serving = asyncio.create_task(self._worker.serve())
        try:
            if self._idle:
                await self._client.create_job(self._kind, item_count=self._idle, chunk_size=1)
            for _ in range(self._idle):
                await self._begun.get()
            return [await self._cancel_one(MAX_PAUSE * number / rounds) for number in range(rounds)]
        finally:
            self._worker.stop()
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            await self._client.close()

    async def _cancel_one(self, pause: float) -> float:
        job = (await self._client.create_job(self._kind)).job
        await self._begun.get()
        await asyncio.sleep(pause)
        await self._client.cancel_job(job.job_id)
        answered = perf_counter()
        knew = await self._known[job.job_id]
        await self._client.wait(job.job_id)
        return knew - answered


def _row(idle: int, took: Sequence[float]) -> tuple[str, ...]:
    seen = percentiles(took)
    return (f"{idle}", f"{len(took)}", *(f"{seen[p]:.0f}" for p in ("p50", "p99")), f"{1_000 * max(took):.0f}")


def measure(store: str, rounds: int, path: Path) -> str:
    """Measure with each number of idle chunks, write the JSON, and return the table."""
    about = circumstances({"store": store, "rounds": rounds})
    seconds: dict[int, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="jobledger-bench-") as name:
        folder = Path(name)
        with fresh(store, folder) as database, jobledger(folder, database) as served:
            for idle in IDLE:
                seconds[idle] = asyncio.run(_measured(served.address, idle, rounds))
                print(f"bench.cancellation: measured with {idle} idle chunks", file=sys.stderr)
    write_json(path, about | {"seconds_by_idle_chunks": seconds})
    heads = ("idle chunks", "rounds", "p50", "p99", "max")
    shown = rows(heads, [_row(idle, took) for idle, took in seconds.items()])
    return f"From the answer to CancelJob until ctx.cancelled in the handler, in ms\n{shown}"


async def _measured(target: str, idle: int, rounds: int) -> list[float]:
    return await Cancelled(target, idle).measure(rounds)


def main() -> int:
    """Run the command line."""
    parser = parser_of("bench.cancellation", __doc__, LATEST, with_store=True)
    parser.add_argument("--rounds", type=int, default=100, help="jobs cancelled for each measure (default: 100)")
    options = parser.parse_args()
    return run_benchmark("bench.cancellation", lambda: measure(options.store, options.rounds, options.json))


if __name__ == "__main__":
    sys.exit(main())
