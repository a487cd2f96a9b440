"""What the transaction of a batch writes, and why it may fail."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct as MsgStruct
from sqlalchemy.exc import SQLAlchemyError

from jobledger_service.core.model.chunk import Chunk, ChunkKey
from jobledger_service.core.model.job import Inputs, Job
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.sweep import SweptChunks

from .entry import JobSegments

StatementFailure = SQLAlchemyError
"""A statement of the transaction failed; what that means is known when the transaction ends."""


class RejectedStatementError(Exception):
    """The database refuses a statement of the transaction, because of one of its commands."""


class ConflictError(Exception):
    """The transaction lost to another one (deadlock, serialization, a unique key): it may be retried."""


class WaitingChunk(NamedTuple):
    """A chunk that waits for a worker. They are ordered by urgency: the most urgent is the least."""

    minus_priority: int
    create_time: Micros
    job_key: str
    chunk_index: int

    @property
    def key(self) -> ChunkKey:
        """The chunk's job and index."""
        return self.job_key, self.chunk_index


class Writes(MsgStruct):
    """The rows of jobs and chunks that one transaction changes."""

    new_jobs: list[tuple[Job, Inputs, JobSegments]] = []
    jobs: list[tuple[Job, JobSegments]] = []
    steady_jobs: list[tuple[Job, JobSegments]] = []
    """Jobs whose steady columns did not change."""
    settled_jobs: list[tuple[Job, JobSegments]] = []
    """Those whose settled body and fixed segment changed, too."""
    deleted_jobs: list[str] = []
    new_chunks: list[tuple[Job, Sequence[Chunk], Mapping[int, bytes]]] = []
    """The chunks of new jobs, and the inputs of those that have one."""
    chunks: list[tuple[Job, Chunk]] = []
    steady_chunks: list[Chunk] = []
    """Chunks whose steady columns did not change; none of them waits."""
    attempts: list[tuple[Job, Chunk]] = []
    """Chunks as their earlier attempts left them."""
    more_attempts: list[tuple[Job, int]] = []
    """Jobs the maximum of attempts of whose unfinished chunks rises or falls, except of those written one by one."""
    swept: list[tuple[Job, SweptChunks]] = []
    new_words: list[tuple[str, str]] = []
    """The full text of new jobs, by key."""
    words: list[tuple[str, str]] = []
    """The changed full text of existing jobs."""
    followed: list[Job] = []
    """Jobs whose waiting chunks must follow the job: its priority and its holds."""
