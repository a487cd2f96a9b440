"""The load generator of etcd: `python -m bench.etcd_load ADDRESS PID` loads it in the same way as Jobledger."""

import sys
from dataclasses import dataclass
from typing import Any, Final

import grpc
import uvloop

from .cases import Simple
from .fanout import DRIVERS, Streams, changes, deliveries
from .jobs import STAMP
from .load import measure
from .targets import Target
from .tasks import Answer, Tasks, serve

API: Final[Any] = grpc.protos("bench/etcd.proto")
PUT: Final = "/etcdserverpb.KV/Put"
RANGE: Final = "/etcdserverpb.KV/Range"
WATCH: Final = "/etcdserverpb.Watch/Watch"


def put(key: str, size: int) -> bytes:
    """Return the template of a Put of so many bytes."""
    return bytes(API.PutRequest(key=key.encode(), value=STAMP.ljust(size, b".")).SerializeToString())


@dataclass(slots=True)
class Range(Simple):
    """One key, read again and again."""

    size: int = 0

    async def prepare(self, ours: Target, in_flight: int) -> dict[str, bytes]:  # noqa: ARG002  the form
        """Put the value."""
        await ours.unary(PUT)(put("read", self.size))
        self.templates = [API.RangeRequest(key=b"read").SerializeToString()]
        return await self.record(ours)

    def check(self) -> None:
        """Require the one value."""
        if len(API.RangeResponse.FromString(self.last).kvs) != 1:
            raise ValueError("etcd did not answer Range with one value")


@dataclass(slots=True)
class Put(Simple):
    """A key for each slot, written again and again."""

    size: int = 0

    async def prepare(self, ours: Target, in_flight: int) -> dict[str, bytes]:
        """Make a request for each slot."""
        self.templates = [put(f"written/{slot}", self.size) for slot in range(in_flight)]
        return await self.record(ours)


class EtcdLoad:
    """One etcd, and what is prepared on it."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._cases: dict[str, Range | Put] = {"Range": Range(RANGE), "Put": Put(PUT)}
        self._streams = Streams(target, WATCH, b"")
        self._count = 0
        self.tasks: Tasks = {
            "prepare": self._prepare,
            "calls": self._calls,
            "open": self._open,
            "deliveries": self._deliveries,
            "close": self._close,
        }

    async def _prepare(self, case: str, size: int, in_flight: int) -> Answer:
        """Make a case ready, with values of so many bytes."""
        ready = self._cases[case]
        ready.size = size
        return {"bytes": sum(map(len, (await ready.prepare(self._target, in_flight)).values()))}

    async def _calls(self, case: str, in_flight: int, seconds: float) -> Answer:
        """Measure calls."""
        return await measure(self._cases[case], self._target, in_flight, seconds)

    async def _open(self, streams: int) -> Answer:
        """Open streams on one key."""
        create = API.WatchRequest(create_request=API.WatchCreateRequest(key=b"watched"))
        self._streams = Streams(self._target, WATCH, create.SerializeToString())
        self._count = streams
        await self._streams.open(streams, first=1)
        return {}

    async def _deliveries(self, size: int, seconds: float, warm: float) -> Answer:
        """Measure the messages that the open streams get of Puts of so many bytes."""
        driven = changes(self._streams, self._count, PUT, [put("watched", size)] * DRIVERS)
        return await deliveries(self._streams, driven, seconds, warm)

    async def _close(self) -> Answer:
        """Close the streams."""
        await self._streams.close()
        return {}


async def main(address: str, pid: str) -> None:
    """Do what standard input asks for, until it ends."""
    target = Target(address, int(pid))
    await serve(EtcdLoad(target).tasks)
    await target.close()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
