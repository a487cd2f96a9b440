"""A value that a database or its driver does not take fails its own command, or its own read, and nothing beside it."""

import asyncio
from contextlib import closing
from itertools import count
from typing import TYPE_CHECKING

import pytest
from jobledger_service.core.api.codec import ProtoCodec
from jobledger_service.core.cursor import Cursors
from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.rows.reads import View
from jobledger_service.core.model.job import NO_UID, JobSpec, job_key
from jobledger_service.core.model.leases import Lease
from jobledger_service.core.model.lifecycle import NewJob
from jobledger_service.core.model.refusals.errors import Refusal
from jobledger_service.core.model.work import NO_RESULTS, WorkReport
from jobledger_service.core.read.queries import Queries
from jobledger_service.core.read.readers import Readers
from jobledger_service.core.read.reading import ReadStore
from jobledger_service.core.write.batch import Executor
from jobledger_service.core.write.commands import CompleteChunks, CreateJob, LeaseStatus
from jobledger_service.core.write.writing import WriteStore

from tests.support.families import all_families

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.fast

HOSTILE, BYSTANDER = "mallory", "bob"
UNFIT_KEYS = [f"{HOSTILE}/x\0", f"{HOSTILE}/\ud800"]
UNFIT_INDEXES = [2**31, 2**63, -(2**70)]


@pytest.fixture
def executor(database: Database) -> Executor:
    clock, reads = count(1_000_000), ReadStore(database)
    cursors = Cursors(reads.epoch.id, lambda: reads.history.terms)
    return Executor(WriteStore(database), ProtoCodec(), lambda: next(clock), cursors, all_families(database), quiet=0)


def create(owner: str, job_id: str, display_name: str = "") -> CreateJob:
    return CreateJob(NewJob(JobSpec(owner, job_id, "k", b"same"), [0], display_name=display_name), "caller")


def complete(owner: str, key: str, index: int = 0) -> CompleteChunks:
    return CompleteChunks(owner, [(Lease(key, NO_UID, index, 1), WorkReport(), NO_RESULTS)])


def poisoned(number: int) -> CompleteChunks | CreateJob:
    """Return a command that got past every check, with a value that no database takes."""
    poison: Sequence[CompleteChunks | CreateJob] = [
        *(complete(HOSTILE, key) for key in UNFIT_KEYS),
        *(complete(HOSTILE, f"{HOSTILE}/x", index) for index in UNFIT_INDEXES),
        create(HOSTILE, f"lone-{number}", display_name="\ud800"),
    ]
    return poison[number % len(poison)]


@pytest.mark.guarantee("3b.1")
def test_a_poisoned_command_fails_alone_in_its_batch(database: Database, executor: Executor):
    commands = [poisoned(n // 8) if n % 8 == 3 else create(BYSTANDER, f"job-{n}") for n in range(48)]
    outcomes, commits = executor.run(commands)
    failed = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, Exception)]
    assert [n for n in failed if n % 8 != 3] == []
    # Each database takes some values that the other does not; what it takes names no lease.
    for outcome in (outcomes[n] for n in range(3, 48, 8)):
        assert isinstance(outcome, Exception) or outcome[0].status is LeaseStatus.LEASE_LOST
        assert not isinstance(outcome, Refusal), "the batch was told that the database is away"
    keys = [job_key(BYSTANDER, f"job-{n}") for n in range(48) if n % 8 != 3]
    assert ReadStore(database).read_jobs(keys, View.BASIC).jobs.keys() == set(keys)
    assert sum(len(commit.entries) for commit in commits) == len(keys)


@pytest.mark.guarantee("3b.1")
async def test_a_poisoned_read_fails_alone_among_those_that_it_shares_a_statement_with(
    database: Database, executor: Executor
):
    executor.run([create(BYSTANDER, f"job-{n}") for n in range(20)])
    with closing(Readers()) as readers:
        queries = Queries(ReadStore(database), readers)
        keys = [job_key(BYSTANDER, f"job-{n}") for n in range(20)]
        requested = [*keys[:7], UNFIT_KEYS[0], *keys[7:13], UNFIT_KEYS[1], *keys[13:]]

        async def found(key: str) -> str | None:
            read = await queries.show_job(key, lambda read, _: read, View.FULL)
            return read.key if read else None

        answers = await asyncio.gather(*map(found, requested), return_exceptions=True)
    assert [answer for key, answer in zip(requested, answers, strict=True) if key in keys] == keys
    for key, answer in zip(requested, answers, strict=True):
        assert key in keys or answer is None or isinstance(answer, Exception)
        assert not isinstance(answer, Refusal), "one who read beside it was told that the database is away"
