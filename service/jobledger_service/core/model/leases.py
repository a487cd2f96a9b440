"""A lease: a worker's right to one chunk until a time, named by a fencing token."""

import struct
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Self

from msgspec import Struct as MsgStruct

from .chunk import TIMED_OUT, AttemptOutcome, Chunk
from .history.epoch import Epoch
from .job import NO_UID, Job
from .micros import Micros
from .states import ChunkState, JobState

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


class StopCause(StrEnum):
    """Why a lease must stop, or is lost."""

    JOB_CANCELLED = "JOB_CANCELLED"
    JOB_FAILED = "JOB_FAILED"
    """By its failure policy."""
    RUN_TIMED_OUT = "RUN_TIMED_OUT"
    ATTEMPT_TIMED_OUT = "ATTEMPT_TIMED_OUT"
    LEASE_EXPIRED = "LEASE_EXPIRED"
    ATTEMPT_ENDED = "ATTEMPT_ENDED"
    """By a report of its worker."""
    SUPERSEDED = "SUPERSEDED"
    """The chunk has a newer lease, or its job was retried."""
    NOT_FOUND = "NOT_FOUND"


class LeaseStop(MsgStruct, frozen=True):
    """Why a worker must stop; `reason` is that of the caller who cancelled the job."""

    cause: StopCause
    reason: str = ""


LEASE_NOT_FOUND: Final = LeaseStop(StopCause.NOT_FOUND)


def cancellation_of(job: Job) -> LeaseStop:
    """Return why leases of a job that is cancelled must stop."""
    return LeaseStop(StopCause.JOB_CANCELLED, job.cancel_reason)


def loss_of(lease: Lease, job: Job, chunk: Chunk, now: Micros) -> LeaseStop:
    """Return why a lease is lost that no worker holds at a time."""
    if job.spec.uid_bytes != lease.uid:
        return LEASE_NOT_FOUND
    if not is_latest(lease, job, chunk):
        return LeaseStop(StopCause.SUPERSEDED)
    if chunk.outcome is AttemptOutcome.CANCELLED:
        return _stop_of(job)
    if chunk.state is ChunkState.PROCESSING:
        return LeaseStop(_overdue(job, chunk, now))
    return LeaseStop(_CAUSES.get(chunk.outcome, StopCause.ATTEMPT_ENDED))


_CAUSES: Final[Mapping[AttemptOutcome | None, StopCause]] = {
    AttemptOutcome.EXPIRED: StopCause.LEASE_EXPIRED,
    AttemptOutcome.TIMED_OUT: StopCause.ATTEMPT_TIMED_OUT,
}


def _stop_of(job: Job) -> LeaseStop:
    """Return what stopped all chunks of a job in work."""
    if job.state in (JobState.CANCELLING, JobState.CANCELLED):
        return cancellation_of(job)
    if job.state is not JobState.FAILED:
        return LeaseStop(StopCause.SUPERSEDED)
    error = job.error
    timed_out = error is not None and error.code == TIMED_OUT and error.chunk_index is None
    return LeaseStop(StopCause.RUN_TIMED_OUT if timed_out else StopCause.JOB_FAILED)


def _overdue(job: Job, chunk: Chunk, now: Micros) -> StopCause:
    """Return which time is over of a lease whose end is not yet recorded."""
    if job.has_timed_out(now):
        return StopCause.RUN_TIMED_OUT
    return StopCause.ATTEMPT_TIMED_OUT if ends_with_attempt(job, chunk) else StopCause.LEASE_EXPIRED


def ends_with_attempt(job: Job, chunk: Chunk) -> bool:
    """Whether a held lease ends with its attempt, so that nothing extends it."""
    timeout = attempt_timeout(job, chunk)
    return (
        timeout is not None and chunk.start_time is not None and chunk.lease_expire_time == chunk.start_time + timeout
    )


def attempt_timeout(job: Job, chunk: Chunk) -> int | None:
    """Return how long the chunk's latest attempt may take, in microseconds; None for no limit."""
    return job.spec.attempt_timeout if chunk.attempt_timeout is None else chunk.attempt_timeout or None
