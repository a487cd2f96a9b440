"""The load generator: a process that does tasks, one line of JSON each, against both servers alike.

Requests and replies are bytes, so that its own cost is small and the same for both.
"""

import sys

import uvloop

from . import h2load, jobs
from .cases import Case, Simple, cases
from .fanout import Fanout, open_fanout
from .load import measure
from .targets import Target
from .tasks import Answer, Tasks, serve


class Generator:
    """Both servers, and what is prepared on them."""

    def __init__(self, targets: dict[str, Target]) -> None:
        self._targets = targets
        self._ours = targets["jobledger"]
        self._floor = targets["floor"]
        self._cases: dict[str, Case] = {}
        self._fanout: Fanout | None = None
        self.tasks: Tasks = {
            "seed": self._seed,
            "prepare": self._prepare,
            "refill": self._refill,
            "calls": self._calls,
            "open": self._open,
            "deliveries": self._deliveries,
            "close": self._close,
        }

    async def _seed(self, count: int) -> Answer:
        """Fill the ledger."""
        self._cases = cases(await jobs.seed(self._ours, count))
        return {}

    async def _prepare(self, case: str, in_flight: int) -> Answer:
        """Make a case ready, and let the floor learn its replies."""
        ready = self._cases[case]
        replies = await ready.prepare(self._ours, in_flight)
        for path, reply in replies.items():
            await self._floor.load(path, reply, ready.appended)
        return {"bytes": sum(map(len, replies.values()))}

    async def _refill(self, case: str, seconds: float) -> Answer:
        """Make sure that a case has enough to do for so long."""
        await self._cases[case].refill(self._ours, seconds)
        return {}

    async def _calls(self, case: str, side: str, in_flight: int, seconds: float, generator: str = "python") -> Answer:
        """Measure calls."""
        ready = self._cases[case]
        if generator == "h2load" and isinstance(ready, Simple):
            return await h2load.measure(ready, self._targets[side], in_flight, seconds)
        if side == "jobledger":
            await self._refill(case, seconds)
        return await measure(ready, self._targets[side], in_flight, seconds)

    async def _open(self, watch: str, streams: int) -> Answer:
        """Open streams on both servers, and leave them open."""
        self._fanout = await open_fanout(self._ours, self._floor, watch, streams)
        return {}

    async def _deliveries(self, side: str, seconds: float, warm: float) -> Answer:
        """Measure the messages that the open streams get."""
        if self._fanout is None:
            raise ValueError("no streams are open")
        return await self._fanout.measure(side, seconds, warm)

    async def _close(self) -> Answer:
        """Close the streams."""
        if self._fanout is not None:
            await self._fanout.close()
            self._fanout = None
        return {}


async def main(servers: list[str]) -> None:
    """Do what standard input asks for, until it ends."""
    targets = {}
    for server in servers:
        name, address, pid = server.split("=")
        targets[name] = Target(address, int(pid))
    work = Generator(targets)
    await serve(work.tasks)
    for target in targets.values():
        await target.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
