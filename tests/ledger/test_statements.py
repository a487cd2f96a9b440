"""The statements of a batch of one command: nothing is asked for that the command cannot need."""

from collections.abc import Sequence
from typing import Any

import pytest
from jobledger_service.core.model.job import Inputs, JobSpec
from jobledger_service.core.model.lifecycle import NewJob
from jobledger_service.core.model.refusals.errors import JobAlreadyExists
from jobledger_service.core.model.work import Claim
from jobledger_service.core.write.commands import ClaimChunks, Command, CreateJob
from sqlalchemy import event

from tests.support.ledger import Ledger

pytestmark = pytest.mark.fast


def new_job(job_id: str, *, has_new_id: bool, inputs: Inputs = Inputs(), chunks: int = 1) -> CreateJob:  # noqa: B008  frozen
    new = NewJob(JobSpec("me", job_id, "k", job_id.encode()), [0] * chunks)
    return CreateJob(new, "caller", inputs=inputs, has_new_id=has_new_id)


def run(ledger: Ledger, command: Command[Any, Any]) -> tuple[Any, Sequence[str]]:
    """Carry out a command in a batch of its own; return its outcome, and the statements."""
    seen: list[str] = []

    def keep(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(ledger.database.writer, "before_cursor_execute", keep)
    [outcome], _ = ledger.executor.run([command])
    event.remove(ledger.database.writer, "before_cursor_execute", keep)
    return outcome, seen


def test_no_job_is_looked_for_under_an_id_that_the_service_has_just_made(ledger: Ledger):
    run(ledger, new_job("first", has_new_id=True))  # begins a term
    made, statements = run(ledger, new_job("made", has_new_id=True))
    assert made[1] is True
    assert not [one for one in statements if "FROM jobs" in one]
    chosen, more = run(ledger, new_job("chosen", has_new_id=False))
    assert chosen[1] is True
    assert len([one for one in more if "FROM jobs" in one]) == 1
    assert len(more) == len(statements) + 1
    again = NewJob(JobSpec("me", "made", "k", b"other"), [0])
    assert isinstance(run(ledger, CreateJob(again, "caller"))[0], JobAlreadyExists)


def test_a_claim_reads_the_inputs_of_jobs_and_of_chunks_in_one_statement(ledger: Ledger):
    run(ledger, new_job("both", has_new_id=False, inputs=Inputs(b"job", {1: b"second"}), chunks=2))
    run(ledger, new_job("chunk", has_new_id=False, inputs=Inputs(None, {0: b"first"})))
    run(ledger, new_job("none", has_new_id=False))
    claimed, statements = run(ledger, ClaimChunks("me", ("k",), 4, Claim("worker", 1_000_000)))
    found = {(one.job.spec.job_id, one.chunk.index): one.inputs for one in claimed}
    assert {place: (inputs.job, inputs.chunks.get(place[1])) for place, inputs in found.items()} == {
        ("both", 0): (b"job", None),
        ("both", 1): (b"job", b"second"),
        ("chunk", 0): (None, b"first"),
        ("none", 0): (None, None),
    }
    assert len([one for one in statements if "input IS NOT NULL" in one]) == 1


def test_every_transaction_has_begun_before_its_first_statement(ledger: Ledger):
    database = ledger.database
    for engine in database.engines:
        with engine.begin() as connection:
            assert connection.connection.driver_connection.in_transaction  # type: ignore[union-attr] # SQLite's
