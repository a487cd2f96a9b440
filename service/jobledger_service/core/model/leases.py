"""A lease: a worker's right to one chunk until a time, named by a fencing token."""

import struct
from typing import Final, Self

from msgspec import Struct as MsgStruct

from .chunk import Chunk, LeaseEnd
from .epoch import Epoch
from .job import Job
from .states import ChunkState

_HEADER: Final = struct.Struct(">qII")
_PURPOSE: Final = b"lease"


class Lease(MsgStruct, frozen=True):
    """The content of a token. `job_time`, the job's creation, tells a job from a later one under the same id."""

    job_key: str
    job_time: int
    index: int
    fence: int

    def token(self, epoch: Epoch) -> str:
        """Return the token as the workers carry it; nobody but the ledger can make one."""
        return epoch.sign(_PURPOSE, _HEADER.pack(self.job_time, self.index, self.fence) + self.job_key.encode())

    @classmethod
    def parse(cls, token: str, epoch: Epoch) -> Self | None:
        """Return the lease that `token` names, None when this epoch never gave it; ValueError for no token at all.

        A forged token, and one from before a restore, cannot be told apart, and name no lease.
        """
        try:
            content = epoch.verify(_PURPOSE, token)
        except ValueError as error:
            raise ValueError("is not a lease token") from error
        if content is None:
            return None
        return cls(content[_HEADER.size :].decode(), *_HEADER.unpack_from(content))


NO_LEASE: Final = Lease("", 0, 0, 0)
"""Names no job, and so is held by nobody."""


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
