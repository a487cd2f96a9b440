"""The watchers, in one process: `python -m examples.replicas.watchers COUNT JOBS FOLDER CURSOR ADDRESS...`."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from jobledger_client import TERMINAL_STATES, AsyncJobClient, WatchMessageType, WatchMode

from .targets import OPTIONS, target
from .worker import KIND

READY = "watching"
BOOKMARK = WatchMessageType.BOOKMARK


async def watch(where: str, jobs: int, cursor: bytes, file: Path, watching: asyncio.Event) -> None:
    """Follow all jobs until so many have ended, and write each message down: position, revision, job."""
    ended: set[str] = set()
    client = AsyncJobClient(where, options=OPTIONS)
    messages = client.watch_jobs(kinds=[KIND], mode=WatchMode.EVERY, cursor=cursor, bookmarks=True)
    async with client, messages:
        with file.open("w") as stream:
            async for message in messages:
                watching.set()
                if message.type == BOOKMARK:
                    continue
                stream.write(f"{message.event.position} {message.job.revision} {message.job.job_id}\n")
                if message.job.state in TERMINAL_STATES:
                    ended.add(message.job.job_id)
                if len(ended) == jobs:
                    return


async def watch_all(count: int, jobs: int, folder: Path, cursor: bytes, addresses: Sequence[str]) -> None:
    """Run all watchers, spread over the replicas; report when each has received its first message."""
    watching = [asyncio.Event() for _ in range(count)]
    async with asyncio.TaskGroup() as tasks:
        for n, connected in enumerate(watching):
            tasks.create_task(watch(target(addresses, n), jobs, cursor, folder / f"watcher-{n:02}.txt", connected))
        for connected in watching:
            await connected.wait()
        print(READY, flush=True)


if __name__ == "__main__":
    number, of_jobs, where, begin, *replicas = sys.argv[1:]
    asyncio.run(watch_all(int(number), int(of_jobs), Path(where), bytes.fromhex(begin), replicas))
