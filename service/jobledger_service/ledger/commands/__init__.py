"""What can be asked of the ledger: each command names the rows it needs and decides over them."""

from .artifacts import ArtifactsStep, Failed
from .base import Command
from .bulk import BulkStep, ForJob
from .callers import CancelJob, CreateJob, DeleteJob, FindCreated, RetryJob, UpdateJob
from .imports import ImportJobs, Past
from .portions import Part
from .removal import Removal
from .reports import CompleteChunks, FailChunks, Heartbeat, LeaseAnswer, LeaseStatus, ReleaseChunks
from .runs import Hold, StepOutcome
from .slots import GrantSlots, SetLimit
from .upkeep import ExpireLeases, ReadyRetries, RemoveExpired, StopOverdue
from .workers import (
    ClaimChunk,
    ClaimChunks,
    Claimed,
)

__all__ = [
    "ArtifactsStep",
    "BulkStep",
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
    "Failed",
    "FindCreated",
    "ForJob",
    "GrantSlots",
    "Heartbeat",
    "Hold",
    "ImportJobs",
    "LeaseAnswer",
    "LeaseStatus",
    "Part",
    "Past",
    "ReadyRetries",
    "ReleaseChunks",
    "Removal",
    "RemoveExpired",
    "RetryJob",
    "SetLimit",
    "StepOutcome",
    "StopOverdue",
    "UpdateJob",
]
