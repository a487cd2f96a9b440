"""A ledger in this process: an executor over a new SQLite file, without a server."""

from itertools import count
from pathlib import Path

from jobledger_service.core.api.codec import ProtoCodec
from jobledger_service.core.codec import Codec
from jobledger_service.core.cursor import Cursors
from jobledger_service.core.database.engines import open_database
from jobledger_service.core.database.maintenance.migrate import upgrade
from jobledger_service.core.model.job import JobSpec
from jobledger_service.core.model.lifecycle import NewJob
from jobledger_service.core.read.reading import ReadStore
from jobledger_service.core.write.batch import Commit, Executor
from jobledger_service.core.write.commands import CreateJob
from jobledger_service.core.write.committer import QueueBounds
from jobledger_service.core.write.writing import WriteStore

from tests.support.bounds import BOUND
from tests.support.families import all_families

PATIENT = QueueBounds(wait=BOUND)
"""Nothing that waits is refused because a machine stalls."""


class Ledger:
    """An executor over a new SQLite file, and what it committed."""

    def __init__(self, file: Path, codec: Codec | None = None) -> None:
        self.database = open_database(f"sqlite:///{file}")
        upgrade(self.database)
        self.reads = ReadStore(self.database)
        clock = count(1_000_000)
        self.executor = Executor(
            WriteStore(self.database),
            codec or ProtoCodec(),
            lambda: next(clock),
            Cursors(self.reads.epoch.id, lambda: self.reads.history.terms),
            all_families(self.database),
            quiet=0,
        )
        self.commits: list[Commit] = []

    def close(self) -> None:
        self.database.close()

    def positions(self) -> list[int]:
        return [row.position for row in self.reads.events(0, 1_000).rows]


def create(job_id: str, priority: int = 5, fingerprint: bytes = b"same") -> CreateJob:
    """Return the command that creates a job of one chunk, of owner `me` and kind `k`."""
    return CreateJob(NewJob(JobSpec("me", job_id, "k", fingerprint), [0], priority=priority), "caller")
