"""A process of watchers that come back to a restarted server, all at once, each with the cursor at which it was."""

import asyncio
import sys
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Sequence

import grpc
import uvloop
from jobledger.v1 import job_service_pb2 as api

from .jobs import JOBS
from .targets import Stream, Target
from .tasks import Answer, serve


class Returning:
    """Streams of WatchJobs, which are opened together and stay open."""

    def __init__(self) -> None:
        self._calls: list[Stream] = []
        self._refused: Counter[str] = Counter()
        self._target: Target | None = None

    async def open(self, address: str, count: int, requests: Sequence[str]) -> Answer:
        """Open streams with these requests in turn; return after how many seconds each had what it had missed."""
        target = self._target = Target(address, 0)
        raw = [b64decode(request) for request in requests]
        began = time.monotonic()
        self._calls = [target.stream(f"{JOBS}/WatchJobs", raw[slot % len(raw)], slot) for slot in range(count)]
        seconds = await asyncio.gather(*(self._first(call, began) for call in self._calls))
        return {"seconds": [duration for duration in seconds if duration is not None], "refused": self._refused}

    async def _first(self, call: Stream, began: float) -> float | None:
        try:
            raw = await call.read()
        except grpc.aio.AioRpcError as error:
            self._refused[f"{error.code().name}: {error.details()}"] += 1
            return None
        message = api.WatchJobsResponse.FromString(raw if isinstance(raw, bytes) else b"")
        if message.type != api.WATCH_MESSAGE_TYPE_CHANGED:
            raise ValueError(f"the first message is not what was missed: {message}")
        return time.monotonic() - began

    async def close(self) -> Answer:
        """Close the streams."""
        for call in self._calls:
            call.cancel()
        if self._target is not None:
            await self._target.close()
        return {}


async def main() -> None:
    """Do what standard input asks for, until it ends."""
    watchers = Returning()
    await serve({"open": watchers.open, "close": watchers.close})


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
