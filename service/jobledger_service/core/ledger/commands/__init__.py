"""What can be asked of the ledger: each command names the rows it needs and decides over them."""

from .base import Command
from .callers import CancelJob, CreateJob, DeleteJob, FindCreated, RetryJob, UpdateJob
from .portions import Part
from .removal import Removal
from .reports import CompleteChunks, FailChunks, Heartbeat, LeaseAnswer, LeaseStatus, ReleaseChunks
from .runs import Hold, StepOutcome
from .upkeep import ExpireLeases, ReadyRetries, RemoveExpired, StopOverdue
from .workers import ClaimChunk, ClaimChunks, Claimed

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
    "FindCreated",
    "Heartbeat",
    "Hold",
    "LeaseAnswer",
    "LeaseStatus",
    "Part",
    "ReadyRetries",
    "ReleaseChunks",
    "Removal",
    "RemoveExpired",
    "RetryJob",
    "StepOutcome",
    "StopOverdue",
    "UpdateJob",
]
