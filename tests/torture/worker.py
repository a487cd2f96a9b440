"""A worker process of one owner, which may be killed: claims, reports, and ends leases in every way, also too late."""

import argparse
import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from jobledger.v1 import worker_service_pb2 as work

from tests.torture.recorder import HistoryWriter, RecordedClient
from tests.torture.workload import KINDS, insist

LEASE = Duration(seconds=2)
ABANDONED = 3.5
"""Seconds after which a lease that nobody extended is over, and is reported on all the same."""


class Worker:
    """Processes one batch of chunks after another."""

    def __init__(self, client: RecordedClient, rng: Random, target: Callable[[], str]) -> None:
        """`target` returns the address of any server."""
        self._client = client
        self._rng = rng
        self._target = target
        self._number = 0
        self._late: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Work until it is cancelled or the process is ended."""
        try:
            while True:
                await self._claim()
        finally:
            for task in self._late:
                task.cancel()

    async def _claim(self) -> None:
        self._number += 1
        request = work.ClaimChunksRequest(
            kinds=KINDS,
            worker=self._client.name,
            max_chunks=self._rng.randint(1, 4),
            lease_duration=LEASE,
            wait=Duration(seconds=1),
            request_id=f"{self._client.name}-{os.getpid()}-{self._number}",
        )
        answer = await self._ask("ClaimChunks", request)
        for claimed in answer.chunks if answer is not None else ():
            await self._process(claimed)

    async def _ask(self, method: str, request: Message) -> Message | None:
        return await insist(self._client, self._target, method, request)

    async def _process(self, claimed: work.ClaimedChunk) -> None:
        """Report on a chunk and end its lease, or leave it until the lease is over."""
        token = claimed.lease.token
        mark = f"{claimed.job_id}/{claimed.chunk.index}/{claimed.chunk.attempt}"
        for n in range(self._rng.randrange(3)):
            progress = work.ProgressReport(percent=20.0 * (n + 1), message=f"{mark} step {n}")
            progress.artifacts["part"].uri = f"s3://bucket/{mark}"
            report = work.LeaseReport(lease_token=token, progress=progress)
            answer = await self._ask("Heartbeat", work.HeartbeatRequest(reports=[report], lease_duration=LEASE))
            if answer is not None and answer.results[0].status != work.LeaseStatus.LEASE_STATUS_OK:
                await self._ask("ReleaseChunks", work.ReleaseChunksRequest(releases=[{"lease_token": token}]))
                return
        chance = self._rng.random()
        if chance < 0.06:
            late = asyncio.create_task(self._report_late(token, mark))
            self._late.add(late)
            late.add_done_callback(self._late.discard)
        else:
            await self._end(token, mark, chance)

    async def _end(self, token: str, mark: str, chance: float) -> None:
        last = work.ProgressReport(message=f"{mark} last")
        if chance < 0.14:
            release = work.ChunkRelease(lease_token=token, progress=last)
            await self._ask("ReleaseChunks", work.ReleaseChunksRequest(releases=[release]))
        elif chance < 0.26:
            failure = work.ChunkFailure(lease_token=token, progress=last, error={"code": "BOOM"})
            failure.not_retryable = chance < 0.17
            await self._ask("FailChunks", work.FailChunksRequest(failures=[failure]))
        else:
            await self._complete(token, mark, again=chance > 0.9)

    async def _complete(self, token: str, mark: str, *, again: bool = False) -> None:
        for _ in range(1 + again):
            await self._ask("CompleteChunks", _completion(token, mark))

    async def _report_late(self, token: str, mark: str) -> None:
        """Complete a chunk when its lease is over, wherever the worker is then."""
        await asyncio.sleep(ABANDONED)
        await insist(self._client, lambda: self._client.target, "CompleteChunks", _completion(token, mark))


def _completion(token: str, mark: str) -> work.CompleteChunksRequest:
    completion = work.ChunkCompletion(lease_token=token, progress={"message": f"{mark} last"})
    completion.output["mark"] = mark
    completion.job_output["mark"] = mark
    return work.CompleteChunksRequest(completions=[completion])


async def main() -> None:
    """Read the command line and work."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("owner", "name", "token", "history", "targets"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seed", required=True, type=int)
    arguments = parser.parse_args()
    writer = HistoryWriter(Path(arguments.history))
    rng, targets = Random(arguments.seed), arguments.targets.split(",")
    client = RecordedClient(rng.choice(targets), arguments.token, arguments.owner, arguments.name, writer)
    await Worker(client, rng, lambda: rng.choice(targets)).run()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
