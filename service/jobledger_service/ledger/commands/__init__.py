"""What can be asked of the ledger: each command names the rows it needs and decides over them."""

from .base import Command
from .callers import CancelJob, CreateJob, DeleteJob, RetryJob, UpdateJob
from .imports import ImportJobs, Past
from .slots import GrantSlots, SetLimit
from .upkeep import ExpireLeases, ReadyRetries, RemoveExpired, StopOverdue
from .workers import (
    ClaimChunk,
    ClaimChunks,
    Claimed,
    CompleteChunks,
    FailChunks,
    Heartbeat,
    LeaseAnswer,
    LeaseStatus,
    ReleaseChunks,
)

__all__ = [
    "CancelJob",
    "ClaimChunk",
    "ClaimChunks",
    "Claimed",
    "Command",
    "CompleteChunks",
    "CreateJob",
    "DeleteJob",
    "ExpireLeases",
    "FailChunks",
    "GrantSlots",
    "Heartbeat",
    "ImportJobs",
    "LeaseAnswer",
    "LeaseStatus",
    "Past",
    "ReadyRetries",
    "ReleaseChunks",
    "RemoveExpired",
    "RetryJob",
    "SetLimit",
    "StopOverdue",
    "UpdateJob",
]
