"""A lease: a worker's right to one chunk until a time, named by a fencing token."""

import struct
from typing import Final, Self

from msgspec import Struct as MsgStruct

from .chunk import AttemptOutcome, Chunk
from .history.epoch import Epoch
from .job import NO_UID, Job
from .micros import Micros
from .states import ChunkState

_HEADER: Final = struct.Struct(">16sIIq")
_PURPOSE: Final = b"claim"


class Lease(MsgStruct, frozen=True):
    """The content of a token: what was claimed, with which fence, and when.

    `uid` tells a job from another one under the same id, and the time a claim from one that the database lost.
    """

    job_key: str
    uid: bytes
    index: int
    fence: int
    claim_time: Micros = Micros(0)

    def token(self, epoch: Epoch) -> str:
        """Return the token as workers carry it; only the ledger can create one."""
        header = _HEADER.pack(self.uid, self.index, self.fence, self.claim_time)
        return epoch.sign(_PURPOSE, header + self.job_key.encode())

    @classmethod
    def parse(cls, token: str, epoch: Epoch) -> Self | None:
        """Return the lease of `token`, None when this epoch did not create it; ValueError for a malformed token.

        A forged token and one from before a restore look alike, and have no lease.
        """
        try:
            content = epoch.verify(_PURPOSE, token)
        except ValueError as error:
            raise ValueError("must be a lease token that this service issued") from error
        if content is None:
            return None
        return cls(content[_HEADER.size :].decode(), *_HEADER.unpack_from(content))


NO_LEASE: Final = Lease("", NO_UID, 0, 0)
"""A lease that no worker holds, as it has no job."""


def lease_of(job: Job, chunk: Chunk) -> Lease:
    """Return the chunk's latest lease."""
    return Lease(job.key, job.spec.uid_bytes, chunk.index, chunk.fence, chunk.start_time or Micros(0))


def is_latest(lease: Lease, job: Job, chunk: Chunk) -> bool:
    """Whether the chunk has no newer lease."""
    return chunk.fence == lease.fence and chunk.start_time == lease.claim_time and job.spec.uid_bytes == lease.uid


def holds(lease: Lease, job: Job, chunk: Chunk, now: Micros) -> bool:
    """Whether a worker holds the chunk under this lease now."""
    return (
        is_latest(lease, job, chunk)
        and chunk.state is ChunkState.PROCESSING
        and chunk.lease_expire_time is not None
        and now < chunk.lease_expire_time
        and (job.deadline is None or not job.has_timed_out(now))
    )


def ended_by(lease: Lease, job: Job, chunk: Chunk, outcome: AttemptOutcome) -> bool:
    """Whether this lease ended in this way before, so that the report is a repetition."""
    return is_latest(lease, job, chunk) and chunk.outcome is outcome
