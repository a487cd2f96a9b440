"""A lease: a worker's right to one chunk until a time, named by a fencing token."""

import base64
import binascii
import struct
from typing import Final, Self

from msgspec import Struct

from .chunk import Chunk, LeaseEnd
from .job import Job
from .states import ChunkState

_HEADER: Final = struct.Struct(">BqII")
_VERSION: Final = 1


class Lease(Struct, frozen=True):
    """The content of a token. `job_time`, the job's creation, tells a job from a later one under the same id."""

    job_key: str
    job_time: int
    index: int
    fence: int

    @property
    def token(self) -> str:
        """The token as the workers carry it."""
        raw = _HEADER.pack(_VERSION, self.job_time, self.index, self.fence) + self.job_key.encode()
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    @classmethod
    def parse(cls, token: str) -> Self:
        """Return the lease that `token` names; ValueError when it was not made here."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            version, job_time, index, fence = _HEADER.unpack_from(raw)
            key = raw[_HEADER.size :].decode()
        except (binascii.Error, struct.error, UnicodeError) as error:
            raise ValueError("is not a lease token") from error
        if version != _VERSION:
            raise ValueError("is not a lease token")
        return cls(key, job_time, index, fence)


def lease_of(job: Job, chunk: Chunk) -> Lease:
    """Return the chunk's latest lease."""
    return Lease(job.key, job.spec.create_time, chunk.index, chunk.fence)


def is_latest(lease: Lease, job: Job, chunk: Chunk) -> bool:
    """Whether no other lease of the chunk was given after this one."""
    return chunk.fence == lease.fence and job.spec.create_time == lease.job_time


def holds(lease: Lease, job: Job, chunk: Chunk, now: int) -> bool:
    """Whether the lease is the chunk's right of way now."""
    return (
        is_latest(lease, job, chunk)
        and chunk.state is ChunkState.PROCESSING
        and chunk.lease_expire_time is not None
        and now < chunk.lease_expire_time
    )


def ended_by(lease: Lease, job: Job, chunk: Chunk, end: LeaseEnd) -> bool:
    """Whether this very lease ended in this way before: the report is a repetition."""
    return is_latest(lease, job, chunk) and chunk.lease_end is end
