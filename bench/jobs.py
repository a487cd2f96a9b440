"""The jobs that the measures work on, and the requests about them."""

import asyncio
import itertools
import struct
from collections.abc import Iterable
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from jobledger.v1 import job_service_pb2 as jobs_api
from jobledger.v1 import worker_service_pb2 as work_api
from jobledger.v1.chunk_pb2 import Artifact

from .targets import Target

JOBS: Final = "/jobledger.v1.JobService"
WORK: Final = "/jobledger.v1.WorkerService"
WORKER: Final = "worker-7.pool-a.example.com"
LEASE: Final = Duration(seconds=3_600)
MAX_CLAIMED: Final = 1_000
AT_ONCE: Final = 4
MAX_BATCH_CHUNKS: Final = 5_000

STAMP: Final = b"@@@@@@@@"
"""Stands in a template for a number of eight digits that is new in each request."""

PERCENT: Final = 12.345678
_PERCENT: Final = struct.pack("<d", PERCENT)
"""Stands in a template for a percent that is higher in each request."""

_numbers: Final = itertools.count(1)


def stamped(template: bytes) -> bytes:
    """Return the next request of a template."""
    number = next(_numbers)
    percent = struct.pack("<d", min(number / 10_000, 95.0))
    return template.replace(STAMP, b"%08d" % number).replace(_PERCENT, percent)


def new_job(kind: str, chunks: int) -> bytes:
    """Return the template of a CreateJob with chunks of 500 items each."""
    return _new_job(kind, chunks).SerializeToString()


def new_jobs(kind: str, chunks: int, count: int) -> bytes:
    """Return the template of a BatchCreateJobs of such jobs."""
    requests = [_new_job(kind, chunks, f"-{number}") for number in range(count)]
    return jobs_api.BatchCreateJobsRequest(requests=requests).SerializeToString()


def _new_job(kind: str, chunks: int, suffix: str = "") -> jobs_api.CreateJobRequest:
    source = Struct()
    source.update(
        {"bucket": "s3://scans-eu-1/2024-03", "width": 1024, "model": "ocr-large-v2", "languages": ["en", "de"]}
    )
    return jobs_api.CreateJobRequest(
        request_id=f"bench-{STAMP.decode()}{suffix}",
        kind=kind,
        display_name=f"Invoices of March, part {STAMP.decode()}.tar",
        input=source,
        labels={"team": "documents", "env": "production"},
        item_count=500 * chunks,
    )


def claim(kind: str, limit: int) -> bytes:
    """Return a ClaimChunks."""
    return work_api.ClaimChunksRequest(
        kinds=[kind], max_chunks=limit, worker=WORKER, lease_duration=LEASE
    ).SerializeToString()


def tokens(claimed: bytes) -> list[str]:
    """Return the lease tokens in the reply to a claim."""
    return [chunk.lease.token for chunk in work_api.ClaimChunksResponse.FromString(claimed).chunks]


def completion(leases: Iterable[str]) -> bytes:
    """Return a CompleteChunks."""
    done = [work_api.ChunkCompletion(lease_token=lease) for lease in leases]
    return work_api.CompleteChunksRequest(completions=done).SerializeToString()


def heartbeat(leases: Iterable[str]) -> bytes:
    """Return the template of a Heartbeat with progress."""
    progress = work_api.ProgressReport(percent=PERCENT, stage="recognise", message=f"page {STAMP.decode()} done")
    reports = [work_api.LeaseReport(lease_token=lease, progress=progress) for lease in leases]
    return work_api.HeartbeatRequest(reports=reports, lease_duration=LEASE).SerializeToString()


async def create(target: Target, kind: str, count: int, chunks: int) -> list[str]:
    """Create jobs in batches, and return their ids."""
    call, size = target.unary(f"{JOBS}/BatchCreateJobs"), max(1, min(100, MAX_BATCH_CHUNKS // chunks))
    created: list[str] = []
    firsts = iter(range(0, count, size))

    async def create_some() -> None:
        for first in firsts:
            template = new_jobs(kind, chunks, min(size, count - first))
            reply = jobs_api.BatchCreateJobsResponse.FromString(await call(stamped(template)))
            created.extend(result.job.job_id for result in reply.results)

    await asyncio.gather(*(create_some() for _ in range(AT_ONCE)))
    return created


async def claim_all(target: Target, kind: str) -> list[str]:
    """Claim all chunks of a kind, oldest job first, and return their lease tokens."""
    leases: list[str] = []
    while claimed := tokens(await target.unary(f"{WORK}/ClaimChunks")(claim(kind, MAX_CLAIMED))):
        leases += claimed
    return leases


async def seed(target: Target, count: int) -> str:
    """Fill the ledger with jobs, and return the id of one of five chunks: two are done, one is half done."""
    await create(target, "bench.seed", count, 5)
    (job_id,) = await create(target, "bench.seen", 1, 5)
    leases = tokens(await target.unary(f"{WORK}/ClaimChunks")(claim("bench.seen", 3)))
    done = [
        work_api.ChunkCompletion(
            lease_token=lease, progress=work_api.ProgressReport(artifacts={"text": _text(job_id, n)})
        )
        for n, lease in enumerate(leases[:2])
    ]
    request = work_api.CompleteChunksRequest(completions=done)
    await target.unary(f"{WORK}/CompleteChunks")(request.SerializeToString())
    await target.unary(f"{WORK}/Heartbeat")(stamped(heartbeat(leases[2:])))
    return job_id


def _text(job_id: str, chunk: int) -> Artifact:
    return Artifact(
        uri=f"s3://scans-eu-1/text/{job_id}/{chunk}.jsonl", content_type="application/jsonl", size_bytes=81_920
    )
