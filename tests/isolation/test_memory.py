"""What waits, and what was written, is in memory no more than is counted for it."""

import asyncio
import gc
import inspect
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextvars import ContextVar

import pytest
from jobledger_service.core.current_call import begin_call
from jobledger_service.core.model.job import Inputs, JobSpec
from jobledger_service.core.model.lifecycle import Cancellation, NewJob
from jobledger_service.core.write.commands import CancelJob, CreateJob
from jobledger_service.core.write.committer import BATCH_BOUNDS
from jobledger_service.core.write.working_set import WorkingSet
from jobledger_service.transport.limits.in_flight import HARD, WRITTEN, InFlight
from jobledger_service.transport.limits.receiving import LARGE, LargeRequests

from tests.isolation.large_jobs import ALICE, BOB, LargeLedger, is_refused

MIB = 1_048_576
COPIES = 8
"""How often a batch is in memory while it is written, from above: as rows, as parameters, encoded, in the database."""

current: ContextVar[str] = ContextVar("current", default="")


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Do without the garbage collector: the server lets it come by seldom."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def new_job(owner: str, job_id: str, inputs: Inputs) -> CreateJob:
    return CreateJob(NewJob(JobSpec(owner, job_id, "k", b"same"), [1, 1]), "caller", inputs=inputs)


@pytest.mark.guarantee("3b.2")
@pytest.mark.usefixtures("no_collection")
def test_nothing_of_a_batch_stays_when_it_is_written_or_refused(ledger: LargeLedger):
    kept, refused = Inputs(None, {0: b"one"}), Inputs(None, {1: b"other"})
    counts = sys.getrefcount(kept), sys.getrefcount(refused)
    ledger.create("there", [1], BOB)
    outcomes = ledger.batch(
        new_job(ALICE, "new", kept),
        CancelJob(ALICE, "none", Cancellation(0), "caller"),
        CreateJob(NewJob(JobSpec(BOB, "there", "k", b"other"), [1]), "caller", inputs=refused),
    )
    assert [is_refused(one) for one in outcomes] == [False, True, True]
    del outcomes
    assert (sys.getrefcount(kept), sys.getrefcount(refused)) == counts
    assert not [one for one in gc.get_objects() if isinstance(one, WorkingSet)]


@pytest.mark.guarantee("3b.2")
@pytest.mark.parametrize(("setting", "message"), [(256 * MIB, 4 * MIB), (64 * MIB, 4 * MIB), (16 * MIB, 1 * MIB)])
def test_what_is_received_and_what_waits_and_what_is_written_are_together_within_the_setting(
    setting: int, message: int
):
    in_flight = InFlight(100, setting, message, lambda _: None, begin_call, 1.0)
    waiting = in_flight.bytes.limit + in_flight.bytes.reserve
    unsent = in_flight.unsent.limit * 4 // 3  # with its reserve
    assert waiting >= setting // 4
    assert unsent >= setting // 12
    received = (in_flight.places + in_flight.stream_places) * HARD * message
    assert waiting + unsent + received + setting // WRITTEN <= setting


def test_a_batch_is_within_its_part_of_the_default():
    assert COPIES * BATCH_BOUNDS.size <= 256 * MIB // WRITTEN


async def test_a_large_request_is_read_on_a_thread_with_the_calls_trace():
    def read(raw: bytes) -> tuple[int, str, bool]:
        return len(raw), current.get(), threading.current_thread() is threading.main_thread()

    requests = LargeRequests()
    current.set("trace")
    assert await requests.read(ALICE, read, b"x" * LARGE) == (LARGE, "trace", False)
    with pytest.raises(ZeroDivisionError):
        await requests.read(ALICE, lambda raw: len(raw) // 0, b"x" * LARGE)


async def test_an_answer_to_a_large_request_whose_caller_left_while_it_was_read_is_closed():
    begun, left, answers = threading.Event(), threading.Event(), list[Coroutine[None, None, None]]()

    async def answer() -> None:
        raise AssertionError

    def read(_: bytes) -> Coroutine[None, None, None]:
        begun.set()
        left.wait()
        answers.append(answer())
        return answers[0]

    requests = LargeRequests()
    call = asyncio.create_task(requests.read(ALICE, read, b"x" * LARGE))
    await asyncio.to_thread(begun.wait)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    left.set()
    assert await requests.read(BOB, lambda _: inspect.getcoroutinestate(answers[0]), b"") == inspect.CORO_CLOSED


@pytest.mark.guarantee("3b.3")
async def test_large_requests_are_read_owners_in_turn_and_reports_on_leases_do_not_wait_for_their_owners_others():
    requests, order = LargeRequests(), list[bytes]()
    sent = [(ALICE, b"a", False)] * 4 + [(BOB, b"b", False)] * 2 + [(ALICE, b"r", True)]
    await asyncio.gather(
        *(
            requests.read(owner, lambda raw: order.append(raw[:1]), name * LARGE, reserved=reserved)
            for owner, name, reserved in sent
        )
    )
    assert b"".join(order) == b"aabraba"
