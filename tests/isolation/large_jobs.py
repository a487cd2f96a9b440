"""A ledger of two owners in this process, over either store, that counts the statements of its transactions."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final
from uuid import uuid4

from jobledger_service.core.api.codec import ProtoCodec
from jobledger_service.core.cursor import Cursors
from jobledger_service.core.database.engines import Database, open_database
from jobledger_service.core.database.maintenance.migrate import upgrade
from jobledger_service.core.database.rows.job_rows import JOB_COLUMNS, WHOLE_JOBS, job_of
from jobledger_service.core.database.tables import jobs
from jobledger_service.core.model.chunk import Chunk
from jobledger_service.core.model.job import FailurePolicy, Job, JobSpec, job_key
from jobledger_service.core.model.lifecycle import NewJob
from jobledger_service.core.model.refusals.errors import Refusal
from jobledger_service.core.model.retry import RetryPolicy
from jobledger_service.core.model.work import Claim
from jobledger_service.core.read.reading import ReadStore
from jobledger_service.core.write.batch import Commit, Executor
from jobledger_service.core.write.commands import ClaimChunk, ClaimChunks, ClaimedChunk, CreateJob
from jobledger_service.core.write.postponed import Postponed
from jobledger_service.core.write.writing import WriteStore
from sqlalchemy import event, select

from tests.support.families import all_families

ALICE: Final = "alice"
BOB: Final = "bob"
LEASE: Final = 60_000_000


class LargeLedger:
    """An executor whose clock the test sets; `statements` are those of its last batch."""

    def __init__(self, database: Database) -> None:
        upgrade(database)
        self.database = database
        self.reads = ReadStore(database)
        self.now = 1_000_000_000
        self.statements = 0
        self.commits: list[Commit] = []
        self.executor = Executor(
            WriteStore(database),
            ProtoCodec(),
            lambda: self.now,
            Cursors(self.reads.epoch.id, lambda: self.reads.history.terms),
            all_families(database),
            quiet=0,
        )
        event.listen(database.writer, "before_cursor_execute", self._count)

    def _count(self, *_: object) -> None:
        self.statements += 1

    def batch(self, *commands: Any) -> list[Any]:
        """Carry out commands in one transaction, if they have room, and return their outcomes."""
        self.statements = 0
        outcomes, commits = self.executor.run(commands)
        self.commits += commits
        return outcomes

    def do(self, command: Any) -> Any:
        """Carry out a command, in as many transactions as it takes, and return its answer."""
        [outcome] = self.batch(command)
        while isinstance(outcome, Postponed):
            [outcome] = self.batch(outcome.rest)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def create(self, job_id: str, sizes: Sequence[int], owner: str = ALICE, **described: Any) -> Job:
        """Create a job."""
        self.do(self.new_job(job_id, sizes, owner, **described))
        return self.job(job_id, owner)

    def new_job(
        self,
        job_id: str,
        sizes: Sequence[int],
        owner: str = ALICE,
        *,
        fast: bool = False,
        tries: int = 1,
        **timeouts: int | None,
    ) -> CreateJob:
        """Return the command that creates a job with a chunk of so many items each."""
        spec = JobSpec(
            owner,
            job_id,
            "k",
            b"same",
            retry_policy=RetryPolicy(max_attempts=tries),
            failure_policy=FailurePolicy.FAIL_FAST if fast else FailurePolicy.RUN_ALL,
            uid_bytes=uuid4().bytes,
            **timeouts,
        )
        return CreateJob(NewJob(spec, sizes), "caller")

    def claim(self, job_id: str, indexes: Sequence[int]) -> list[ClaimedChunk]:
        """Claim these chunks of one of alice's jobs, in one transaction."""
        by = Claim("w", LEASE)
        claimed = self.batch(*(ClaimChunk(ALICE, job_id, index, by) for index in indexes))
        assert all(isinstance(one, ClaimedChunk) for one in claimed)
        return claimed

    def claim_any(self, count: int) -> list[ClaimedChunk]:
        """Claim so many chunks of alice's."""
        return self.do(ClaimChunks(ALICE, ("k",), count, Claim("w", LEASE)))

    def job(self, job_id: str, owner: str = ALICE) -> Job:
        """Return a job as it is."""
        wanted = select(*JOB_COLUMNS).select_from(WHOLE_JOBS).where(jobs.c.job_key == job_key(owner, job_id))
        with self.database.read() as connection:
            return job_of(connection.execute(wanted).one())

    def chunks(self, job_id: str) -> dict[int, Chunk]:
        """Return all chunks of one of alice's jobs."""
        read = self.reads.list_chunks(job_key(ALICE, job_id), frozenset(), -1, 10_000)
        assert read is not None
        return {chunk.index: chunk for chunk in read.chunks}

    def last_event(self) -> bytes:
        """Return the encoded event of the last commit, which had one."""
        [entry] = self.commits[-1].entries
        return entry.message


@contextmanager
def large_ledger(url: str) -> Iterator[LargeLedger]:
    """Open a ledger over a new database."""
    with closing(open_database(url)) as database:
        yield LargeLedger(database)


def is_refused(outcome: object) -> bool:
    """Whether a command was refused."""
    return isinstance(outcome, Refusal)
