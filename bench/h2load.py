"""Load by nghttp2's h2load, which needs far less CPU than a generator in Python, and sends one request again and again.

It therefore serves reads alone: a write needs a new request id, percent or lease in each call. It does not look at the
status of gRPC either; a call of ours before it does.
"""

import asyncio
import re
import resource
import shutil
import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from .cases import Simple
from .load import Usage
from .processes import StartError
from .targets import CONNECTIONS, Target, percentiles

CASES: Final = ("GetJob", "ListJobs")
PROBED: Final = 300
"""Calls that tell how many take as long as a measure is to last."""
_FINISHED: Final = re.compile(r"finished in .*, ([\d.]+) req/s")
_DONE: Final = re.compile(r"requests: (\d+) total, .* (\d+) succeeded")


def require() -> None:
    """Raise StartError when h2load is not on the PATH."""
    if shutil.which("h2load") is None:
        raise StartError("--generator h2load needs h2load, which is in Debian's nghttp2-client")


def rate(output: str, count: int) -> float:
    """Return the calls a second of an output; raises ValueError when not all of them succeeded."""
    finished, done = _FINISHED.search(output), _DONE.search(output)
    if finished is None or done is None or done.groups() != (str(count), str(count)):
        raise ValueError(f"h2load did not carry out {count} calls; it printed:\n{output}")
    return float(finished[1])


async def measure(case: Simple, target: Target, in_flight: int, seconds: float) -> dict[str, Any]:
    """Send as many calls as take so long, and return what was seen."""
    await case.record(target)
    case.check()
    with TemporaryDirectory() as name:
        folder, request = Path(name), case.templates[0]
        (folder / "request").write_bytes(struct.pack(">BI", 0, len(request)) + request)
        probed = await _run(case.path, target, in_flight, max(PROBED, in_flight), folder)
        count = max(in_flight, int(probed * seconds))
        start = _usage(target)
        result = await _run(case.path, target, in_flight, count, folder)
        seen = _usage(target).since(start, count)
        took = [int(line.split()[2]) / 1e6 for line in (folder / "log").read_text().splitlines()]
    return {"calls": count, **seen, "rate": result, **percentiles(took)}


def _usage(target: Target) -> Usage:
    """Read the clocks, with that of h2load for the generator's."""
    now, ended = Usage.now(target), resource.getrusage(resource.RUSAGE_CHILDREN)
    return Usage(now.wall, now.server, ended.ru_utime + ended.ru_stime)


async def _run(path: str, target: Target, in_flight: int, count: int, folder: Path) -> float:
    connections, log = min(CONNECTIONS, in_flight), folder / "log"
    log.unlink(missing_ok=True)
    load = (f"--requests={count}", f"--clients={connections}", f"--max-concurrent-streams={in_flight // connections}")
    headers = ("-H", "content-type: application/grpc", "-H", "te: trailers")
    process = await asyncio.create_subprocess_exec(
        *("h2load", *load, *headers, f"--data={folder / 'request'}", f"--log-file={log}"),
        f"http://{target.address}{path}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return rate(output.decode(), count)
