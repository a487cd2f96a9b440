"""The commands of the ledger: each names the rows that it needs and decides over them."""

from .base import Command
from .callers import (
    CancelJob,
    CreateJob,
    CreateJobs,
    DeleteJob,
    FindCreated,
    RetryJob,
    UpdateJob,
    request_key,
)
from .reports import (
    CompleteChunks,
    EndReports,
    FailChunks,
    Heartbeat,
    LeaseAnswer,
    LeaseReports,
    LeaseStatus,
    ReleaseChunks,
    ReleaseUnheard,
    refused,
)
from .runs import StepLease, StepOutcome
from .upkeep import EndOverdue, ExpireLeases, LiftBackoffs, LiftSchedules, RemoveExpired
from .workers import ClaimChunk, ClaimChunks, ClaimedChunk, ReportAndClaim

__all__ = [
    "CancelJob",
    "ClaimChunk",
    "ClaimChunks",
    "ClaimedChunk",
    "Command",
    "CompleteChunks",
    "CreateJob",
    "CreateJobs",
    "DeleteJob",
    "EndOverdue",
    "EndReports",
    "ExpireLeases",
    "FailChunks",
    "FindCreated",
    "Heartbeat",
    "LeaseAnswer",
    "LeaseReports",
    "LeaseStatus",
    "LiftBackoffs",
    "LiftSchedules",
    "ReleaseChunks",
    "ReleaseUnheard",
    "RemoveExpired",
    "ReportAndClaim",
    "RetryJob",
    "StepLease",
    "StepOutcome",
    "UpdateJob",
    "refused",
    "request_key",
]
