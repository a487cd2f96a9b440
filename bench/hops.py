"""The way of one call through the server, function by function: `python -m bench.hops heartbeat`, or `watch`.

A function counts when it is one of jobledger_service and runs because of the call, on any thread: once, however often
it runs. Module bodies, comprehensions, generator expressions, functions that are generated at import, and the observers
of metrics do not count. A function is a hop when another file calls it and it calls another file in turn; every other
one is a helper, or the end of the way.

The server runs in this process, on an SQLite file, its duties at rest. The same call has been made before, so that
nothing is imported or cached for it.
"""

import argparse
import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, FrameType
from typing import Final

import grpc
import jobledger_service
from jobledger.v1 import job_service_pb2, worker_service_pb2
from jobledger.v1.job_service_pb2_grpc import JobServiceStub
from jobledger.v1.worker_service_pb2_grpc import WorkerServiceStub
from jobledger_service.app import App
from jobledger_service.settings import Settings

from tests.support.constants import set_constants

ROOT: Final = f"{Path(jobledger_service.__file__).parent}/"
OBSERVERS: Final = tuple(ROOT + place for place in ("transport/metrics.py", "features/metrics/"))
NOT_FUNCTIONS: Final = frozenset({"<module>", "<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})
AT_REST: Final = {
    "DUE_SCAN_SECONDS": "3600", "TRIM_SECONDS": "3600", "RECORD_SECONDS": "3600", "MEASURE_SECONDS": "3600",
}  # fmt: skip
SETTLING_SECONDS: Final = 1.5
"""Seconds for what follows the start of the server, or a reply: a new worker is written within one second."""


def _counts(code: CodeType) -> bool:
    name = code.co_filename
    return name.startswith(ROOT) and not name.startswith(OBSERVERS) and code.co_name not in NOT_FUNCTIONS


class Recorder:
    """Records the functions that run, in the order in which each first did, with the files that called it."""

    def __init__(self) -> None:
        self.is_on = False
        self.callers: dict[CodeType, set[str]] = {}
        self.callees: dict[CodeType, set[str]] = {}
        self.on_threads: set[CodeType] = set()

    def install(self) -> None:
        """Watch this thread and all that begin later."""
        threading.setprofile(self._called)
        sys.setprofile(self._called)

    def _called(self, frame: FrameType, event: str, _: object) -> None:
        if not self.is_on or event != "call" or not _counts(frame.f_code):
            return
        code, back = frame.f_code, frame.f_back
        while back is not None and not _counts(back.f_code):
            back = back.f_back
        callers = self.callers.setdefault(code, set())
        if back is None:
            callers.add("")
        elif back.f_code.co_filename != code.co_filename:
            callers.add(back.f_code.co_filename)
            self.callees.setdefault(back.f_code, set()).add(code.co_filename)
        if threading.current_thread() is not threading.main_thread():
            self.on_threads.add(code)

    async def record(self, call: Callable[[], Awaitable[object]]) -> None:
        """Record what a call runs, up to the moment at which nothing is left to do for it."""
        await asyncio.sleep(SETTLING_SECONDS)
        self.is_on = True
        await call()
        await asyncio.sleep(SETTLING_SECONDS)
        self.is_on = False

    def is_hop(self, code: CodeType) -> bool:
        """Whether another file calls a function, and it calls another file in turn."""
        return bool(self.callers[code]) and bool(self.callees.get(code))

    def table(self) -> Iterator[str]:
        """Yield the functions by file, in the order in which the call first comes to each; hops have an arrow."""
        files: dict[str, list[CodeType]] = {}
        for code in self.callers:
            files.setdefault(code.co_filename, []).append(code)
        hops = [code for code in self.callers if self.is_hop(code)]
        of_hops = {code.co_filename for code in hops}
        yield f"{len(self.callers)} functions in {len(files)} files; {len(hops)} hops in {len(of_hops)} files"
        for file, within in files.items():
            yield f"\n{file.removeprefix(ROOT)}  ({len(within)})"
            for code in within:
                thread = " (thread)" if code in self.on_threads else ""
                yield f"  {'→' if self.is_hop(code) else ' '} {code.co_firstlineno:4}  {code.co_qualname}{thread}"


async def _heartbeat(recorder: Recorder, channel: grpc.aio.Channel) -> None:
    """Trace a report of a percent on one lease."""
    workers = WorkerServiceStub(channel)
    await JobServiceStub(channel).CreateJob(job_service_pb2.CreateJobRequest(kind="traced", item_count=10))
    claimed = await workers.ClaimChunks(worker_service_pb2.ClaimChunksRequest(kinds=["traced"], worker="bench"))

    async def report(percent: float) -> None:
        progress = worker_service_pb2.ProgressReport(percent=percent)
        sent = worker_service_pb2.LeaseReport(lease_token=claimed.chunks[0].lease.token, progress=progress)
        await workers.Heartbeat(worker_service_pb2.HeartbeatRequest(reports=[sent]))

    for percent in (1, 2, 3):
        await report(percent)
    await recorder.record(lambda: report(4))


async def _watch(recorder: Recorder, channel: grpc.aio.Channel) -> None:
    """Trace the opening of a watch of one job, its first message and its end."""
    jobs = JobServiceStub(channel)
    created = await jobs.CreateJob(job_service_pb2.CreateJobRequest(kind="traced"))

    async def open_watch() -> None:
        watch = jobs.WatchJob(job_service_pb2.WatchJobRequest(job_id=created.job.job_id))
        await watch.read()
        watch.cancel()

    await open_watch()
    await recorder.record(open_watch)


CALLS: Final = {"heartbeat": _heartbeat, "watch": _watch}


async def trace(name: str) -> Recorder:
    """Return the way of a call through a server of its own."""
    recorder = Recorder()
    recorder.install()
    set_constants(AT_REST)
    with TemporaryDirectory() as folder:
        app = App(Settings(database=f"sqlite:///{folder}/traced.db", listen="127.0.0.1:0"))
        address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        running = asyncio.create_task(app.run(address.set_result))
        async with grpc.aio.insecure_channel(await address) as channel:
            await CALLS[name](recorder, channel)
        app.stop()
        await running
    return recorder


def main() -> None:
    """Print the way of a call."""
    parser = argparse.ArgumentParser(prog="python -m bench.hops", description=__doc__)
    parser.add_argument("call", nargs="?", choices=CALLS, default="heartbeat")
    print(*asyncio.run(trace(parser.parse_args().call)).table(), sep="\n")


if __name__ == "__main__":
    main()
