"""The SDK beside a bare stub: `python -m bench.sdk` shows the CPU of the client for a call, and a message of a watch.

Both make the same calls to the floor, which answers with the bytes that Jobledger answered. The stub is that of the
generated code, in grpc.aio, without an interceptor, and reads each message as the SDK does.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import grpc
from jobledger.v1 import job_service_pb2 as api
from jobledger.v1.job_service_pb2_grpc import JobServiceStub
from jobledger_client import AsyncJobClient, WatchMode

from . import jobs
from .fanout import a_change
from .processes import ROOT, floor, jobledger
from .report import circumstances, parser_of, rows, run_benchmark, write_json
from .targets import Target

LATEST: Final = ROOT / "bench" / "results" / "sdk.json"
CALLS: Final = 500
MESSAGES: Final = 2_000
COUNTS: Final = {"a call": CALLS, "a message of a watch": MESSAGES}
TIMEOUT: Final = 10.0
WARM: Final = 50

Measure = Callable[[int], Awaitable[None]]


async def _prepare(ours: Target, bare: Target) -> str:
    """Let the floor learn the replies of Jobledger; return the id of the job."""
    (job_id,) = await jobs.create(ours, "bench.sdk", 1, 5)
    leases = await jobs.claim_all(ours, "bench.sdk")
    get = f"{jobs.JOBS}/GetJob"
    await bare.load(get, await ours.unary(get)(api.GetJobRequest(job_id=job_id).SerializeToString()))
    watch = f"{jobs.JOBS}/WatchJob"
    request = api.WatchJobRequest(job_id=job_id, mode=api.WATCH_MODE_EVERY).SerializeToString()
    await bare.load(watch, await a_change(ours, watch, request, jobs.heartbeat(leases[:1])))
    await bare.flow(on=True)
    return job_id


def _measures(stub: Any, client: AsyncJobClient, job_id: str) -> dict[str, dict[str, Measure]]:  # noqa: ANN401  its stubs are those of a sync one
    async def stub_calls(count: int) -> None:
        for _ in range(count):
            await stub.GetJob(api.GetJobRequest(job_id=job_id), timeout=TIMEOUT)

    async def client_calls(count: int) -> None:
        for _ in range(count):
            await client.get_job(job_id)

    async def stub_watch(count: int) -> None:
        call = stub.WatchJob(api.WatchJobRequest(job_id=job_id, mode=api.WATCH_MODE_EVERY))
        for _ in range(count):
            await call.read()
        call.cancel()

    async def client_watch(count: int) -> None:
        seen = 0
        async with client.watch(job_id, mode=WatchMode.EVERY) as watch:
            async for _ in watch:
                seen += 1
                if seen == count:
                    return

    return {
        "a call": {"stub": stub_calls, "SDK": client_calls},
        "a message of a watch": {"stub": stub_watch, "SDK": client_watch},
    }


async def _measured(ours: Target, bare: Target, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the CPU microseconds for each call and message, by round, stub and SDK in turn."""
    job_id = await _prepare(ours, bare)
    microseconds: dict[str, dict[str, list[float]]] = {}
    async with grpc.aio.insecure_channel(bare.address) as channel, AsyncJobClient(bare.address) as client:
        for what, sides in _measures(JobServiceStub(channel), client, job_id).items():
            microseconds[what] = {side: [] for side in sides}
            for call in sides.values():
                await call(WARM)
            for _ in range(rounds):
                for side, call in sides.items():
                    began = time.process_time()
                    await call(COUNTS[what])
                    microseconds[what][side].append(1_000_000 * (time.process_time() - began) / COUNTS[what])
    await bare.flow(on=False)
    for target in (ours, bare):
        await target.close()
    return microseconds


async def _run(ours: tuple[str, int], bare: tuple[str, int], rounds: int) -> dict[str, dict[str, list[float]]]:
    return await _measured(Target(*ours), Target(*bare), rounds)


def measure(rounds: int, path: Path) -> str:
    """Measure, write the JSON, and return the table."""
    about = circumstances({"rounds": rounds})
    with tempfile.TemporaryDirectory(prefix="jobledger-bench-") as name:
        folder = Path(name)
        with jobledger(folder, f"sqlite:///{folder}/bench.db") as ours, floor(folder) as bare:
            measured = asyncio.run(_run((ours.address, ours.pid), (bare.address, bare.pid), rounds))
    write_json(path, about | {"microseconds": measured})
    heads = ("CPU of the client in µs", "stub", "SDK", "ratio", "min to max")
    return rows(heads, [_row(what, seen["stub"], seen["SDK"]) for what, seen in measured.items()])


def _row(what: str, stub: list[float], sdk: list[float]) -> tuple[str, ...]:
    ratios = [ours / other for ours, other in zip(sdk, stub, strict=True)]
    middles = (f"{statistics.median(values):.0f}" for values in (stub, sdk))
    return (what, *middles, f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}")


def main() -> int:
    """Run the command line."""
    parser = parser_of("bench.sdk", __doc__, LATEST, with_store=False)
    parser.add_argument("--rounds", type=int, default=9, help="pairs of each measure (default: 9)")
    options = parser.parse_args()
    return run_benchmark("bench.sdk", lambda: measure(options.rounds, options.json))


if __name__ == "__main__":
    sys.exit(main())
