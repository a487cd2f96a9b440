"""A worker survives its handlers: any exception, exit, block or leak. The chunk fails, and the next one is done."""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, NoReturn

import grpc
import pytest
from jobledger_client import (
    AsyncJobClient,
    ChunkContext,
    ChunkState,
    JobClient,
    JobState,
    JobView,
    NotRetryable,
    RetryLater,
    RetryPolicy,
)

from tests.client.conftest import Serving
from tests.conftest import StartServer
from tests.support.api import Api
from tests.support.bounds import BOUND, CALL_TIMEOUT
from tests.support.server import Server

pytestmark = pytest.mark.one_store("handlers know nothing of the store")

ONCE = RetryPolicy(max_attempts=1)
HOUR = timedelta(hours=1)  # a lease that does not end by itself in a test


class Unspeakable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Exiting(Exception):  # noqa: N818
    def __str__(self) -> str:  # noqa: PLE0307 - it is what is tested
        sys.exit(3)

    __repr__ = __str__


class OfNoClass(BaseException):
    pass


class OfNoCode(NotRetryable):
    def __init__(self) -> None:
        """Forget to call that of NotRetryable."""


class OfNoDelay(RetryLater):
    def __init__(self) -> None:
        """Forget to call that of RetryLater."""


class HidesItsName(type):
    @property
    def __name__(cls) -> str:
        raise RuntimeError("no name")


class OfNoName(Exception, metaclass=HidesItsName):  # noqa: N818
    pass


def delayed_by(delay: Any) -> RetryLater:
    error = RetryLater(timedelta(0))
    error.delay = delay
    return error


def raising(error: BaseException) -> Callable[[], NoReturn]:
    def act() -> NoReturn:
        raise error

    return act


ENDS: dict[str, tuple[Callable[[], object], str]] = {
    "sys.exit": (lambda: sys.exit(1), "SystemExit"),
    "sys.exit(0)": (lambda: sys.exit(0), "SystemExit"),
    "KeyboardInterrupt": (raising(KeyboardInterrupt()), "KeyboardInterrupt"),
    "BaseException": (raising(OfNoClass("x")), "OfNoClass"),
    "CancelledError": (raising(asyncio.CancelledError()), "CancelledError"),
    "GeneratorExit": (raising(GeneratorExit()), "GeneratorExit"),
    # Python turns it into that in a coroutine.
    "StopIteration": (raising(StopIteration(1)), "RuntimeError"),
    "StopAsyncIteration": (raising(StopAsyncIteration()), "StopAsyncIteration"),
    "no text": (raising(Unspeakable()), "Unspeakable"),
    "text that exits": (raising(Exiting()), "Exiting"),
    "10 MB": (raising(ValueError("x" * 10_000_000)), "ValueError"),
    "NUL and surrogates": (raising(ValueError("\x00 \ud800 ok")), "ValueError"),
    "long name": (raising(type("N" * 1_000, (Exception,), {})()), "N" * 128),
    "odd code": (raising(NotRetryable("x", code="\x00" + "c" * 1_000)), "\ufffd" + "c" * 127),
    "no code": (raising(OfNoCode()), "OfNoCode"),
    "no delay": (raising(OfNoDelay()), "OfNoDelay"),
    "a delay that is no timedelta": (raising(delayed_by(5)), "RetryLater"),
    "a delay of a year": (raising(delayed_by(timedelta(days=365))), "RetryLater"),
    "an empty name": (raising(type("", (Exception,), {})()), "Exception"),
    "no name": (raising(OfNoName()), "Exception"),
    "ExceptionGroup": (raising(BaseExceptionGroup("g", [SystemExit(1), ValueError()])), "BaseExceptionGroup"),
}


@pytest.mark.guarantee("3c.3")
@pytest.mark.parametrize("form", ["async", "plain"])
async def test_a_worker_survives_whatever_a_handler_raises(
    client: AsyncJobClient, serving: Serving, kind: str, caplog: pytest.LogCaptureFixture, form: str
):
    """Every other chunk raises, and the one after it is done."""
    caplog.set_level(logging.INFO, "jobledger_client.worker")
    acts = [act for act, _ in ENDS.values()]

    async def handler(ctx: ChunkContext) -> None:
        plain(ctx)

    def plain(ctx: ChunkContext) -> None:
        number, is_done = divmod(ctx.chunk.index, 2)
        if not is_done:
            ctx.progress(message="before the end")
            acts[number]()

    job = (await client.create_job(kind, item_count=2 * len(ENDS), chunk_size=1, retry_policy=ONCE)).job
    async with serving({kind: handler if form == "async" else plain}, concurrency=1, lease_duration=HOUR):
        await client.wait(job.job_id, timeout=CALL_TIMEOUT)
    chunks = (await client.get_job(job.job_id, view=JobView.FULL)).chunks
    assert dict(zip(ENDS, [chunk.error.code for chunk in chunks[::2]], strict=True)) == {
        name: code for name, (_, code) in ENDS.items()
    }
    assert {(chunk.state, chunk.progress.message) for chunk in chunks[::2]} == {(ChunkState.FAILED, "before the end")}
    assert {chunk.state for chunk in chunks[1::2]} == {ChunkState.COMPLETED}
    assert max(len(message) for message in caplog.messages) < 100_000


async def test_a_worker_survives_an_exit_in_a_task_that_its_handler_started(
    client: AsyncJobClient, serving: Serving, kind: str
):
    async def part() -> None:
        sys.exit("no memory")

    async def handler(ctx: ChunkContext) -> None:
        if ctx.chunk.index == 0:
            await asyncio.gather(part(), asyncio.sleep(0))

    job = (await client.create_job(kind, item_count=2, chunk_size=1, retry_policy=ONCE)).job
    async with serving({kind: handler}, concurrency=1, lease_duration=HOUR):
        ended = await client.wait(job.job_id, timeout=CALL_TIMEOUT)
    assert (ended.chunks_summary.failed, ended.chunks_summary.completed) == (1, 1)
    assert ended.error.code == "HandlerExit"
    assert "sys.exit('no memory')" in ended.error.message


async def test_tasks_that_a_handler_leaves_running_are_reported_and_harm_nobody(
    client: AsyncJobClient, serving: Serving, kind: str, caplog: pytest.LogCaptureFixture
):
    leaked: list[asyncio.Task[None]] = []

    async def leak() -> None:
        await asyncio.Event().wait()

    async def handler(ctx: ChunkContext) -> None:
        leaked.append(asyncio.create_task(leak(), name="a leak"))

    job = (await client.create_job(kind, item_count=3, chunk_size=1)).job
    async with serving({kind: handler}, concurrency=1):
        assert (await client.wait(job.job_id, timeout=CALL_TIMEOUT)).state == JobState.COMPLETED
    reported = [message for message in caplog.messages if "left 1 tasks running" in message]
    assert len(reported) == 1  # once for a kind
    assert kind in reported[0]
    for task in leaked:
        task.cancel()


async def test_tasks_of_others_are_none_of_the_workers_business(client: AsyncJobClient, serving: Serving, kind: str):
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    async with serving({kind: lambda ctx: None}):
        task = asyncio.create_task(asyncio.sleep(0))
        assert type(task) is asyncio.Task
        assert asyncio.iscoroutine(task.get_coro())
        await task
    assert loop.get_task_factory() is before


@pytest.mark.guarantee("3c.3")
@pytest.mark.parametrize("form", ["async", "plain"])
async def test_handlers_that_never_stop_do_not_take_the_workers_slots(
    client: AsyncJobClient, serving: Serving, kind: str, caplog: pytest.LogCaptureFixture, form: str
):
    loop = asyncio.get_running_loop()
    started, may_end = asyncio.Event(), threading.Event()

    async def deaf(ctx: ChunkContext) -> None:
        started.set()
        while not may_end.is_set():
            try:
                await asyncio.to_thread(may_end.wait, 0.2)
            except asyncio.CancelledError:
                continue

    def deaf_thread(ctx: ChunkContext) -> None:
        loop.call_soon_threadsafe(started.set)
        may_end.wait(BOUND)

    async def good(ctx: ChunkContext) -> None:
        pass

    handlers = {f"{kind}.deaf": deaf if form == "async" else deaf_thread, f"{kind}.good": good}
    try:
        async with serving(
            handlers, concurrency=1, heartbeat_interval=timedelta(seconds=0.1), drain_timeout=timedelta(seconds=0.01)
        ):
            ruined = (await client.create_job(f"{kind}.deaf")).job
            await started.wait()
            await client.cancel_job(ruined.job_id)
            assert (await client.wait(ruined.job_id, timeout=CALL_TIMEOUT)).state == JobState.CANCELLED
            job = (await client.create_job(f"{kind}.good")).job
            assert (await client.wait(job.job_id, timeout=CALL_TIMEOUT)).state == JobState.COMPLETED
    finally:
        may_end.set()
    assert any("does not stop; it is abandoned" in message for message in caplog.messages)


async def test_a_thread_that_cannot_start_fails_its_attempt_and_takes_no_slot(
    client: AsyncJobClient, serving: Serving, kind: str
):
    attempts = 3
    policy = RetryPolicy(max_attempts=attempts, initial_backoff=timedelta(milliseconds=1))
    async with serving({kind: lambda ctx: None}, concurrency=1):
        first = (await client.create_job(kind)).job
        await client.wait(first.job_id, timeout=CALL_TIMEOUT)  # the worker has its own threads now
        before = threading.stack_size(2**46)  # more than there is memory for: no thread can start
        try:
            ruined = (await client.create_job(kind, retry_policy=policy)).job
            failed = await client.wait(ruined.job_id, timeout=CALL_TIMEOUT)
        finally:
            threading.stack_size(before)
        assert (failed.state, failed.error.code) == (JobState.FAILED, "RuntimeError")
        job = (await client.create_job(kind)).job
        assert (await client.wait(job.job_id, timeout=CALL_TIMEOUT)).state == JobState.COMPLETED


class RefusedClaims(logging.Handler):
    """Sets `seen` when a claim is refused."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.seen = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "could not claim chunks" in record.getMessage() and "open claims" in record.getMessage():
            self.seen.set()


@pytest.mark.long  # the worker tries for half a minute before it tells
async def test_a_worker_whose_claim_is_one_too_many_claims_when_there_is_room(
    start_server: StartServer, serving: Serving, connect: Callable[[Server], Api], kind: str
):
    server = start_server(MAX_CLAIMS_WITHOUT_KEYS="1")
    target, api = server.target, connect(server)
    refused, logger = RefusedClaims(), logging.getLogger("jobledger_client.worker")
    logger.addHandler(refused)
    async with AsyncJobClient(target, timeout=CALL_TIMEOUT) as client:
        job = (await client.create_job(kind)).job
        other = asyncio.create_task(keep_claiming(api, kind))
        while not await is_refused(api, kind):  # until the other claim waits
            pass
        async with serving({kind: lambda ctx: None}, target):
            await refused.seen.wait()
            other.cancel()
            assert (await client.wait(job.job_id, timeout=CALL_TIMEOUT)).state == JobState.COMPLETED
    logger.removeHandler(refused)


async def keep_claiming(api: Api, kind: str) -> None:
    """Have a claim open, again and again, also when a probe was open and it was refused."""
    while True:
        with suppress(grpc.aio.AioRpcError):
            await api.claim(f"{kind}.other", worker="other", wait=timedelta(minutes=1))


async def is_refused(api: Api, kind: str) -> bool:
    """Return whether a claim of another kind is refused for the claims that are open."""
    try:
        await api.claim(f"{kind}.none", worker="probe")
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return False


class UnblockOnWarning(logging.Handler):
    """Lets a blocked handler go on when the worker has warned about it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.warned = threading.Event()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "has blocked the event loop" in record.getMessage():
            self.messages.append(record.getMessage())
            self.warned.set()


@pytest.fixture
def warnings_of_blocks():
    handler, logger = UnblockOnWarning(), logging.getLogger("jobledger_client.worker")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.mark.guarantee("3c.3")
async def test_a_handler_that_blocks_the_loop_is_named_and_loses_no_lease(
    client: AsyncJobClient, server: Server, serving: Serving, kind: str, warnings_of_blocks: UnblockOnWarning
):
    attempts: list[int] = []

    async def handler(ctx: ChunkContext) -> None:
        attempts.append(ctx.chunk.attempt)
        assert warnings_of_blocks.warned.wait(BOUND)  # the culprit's line
        expiries: set[int] = set()
        with JobClient(server.target, timeout=CALL_TIMEOUT) as own:
            while len(expiries) < 5:
                expiries.add(own.get_job(ctx.job_id, view=JobView.FULL).chunks[0].lease_expire_time.ToNanoseconds())

    job = (await client.create_job(kind)).job
    async with serving({kind: handler}, heartbeat_interval=timedelta(seconds=0.3)):
        assert (await client.wait(job.job_id, timeout=CALL_TIMEOUT)).state == JobState.COMPLETED
    assert attempts == [1]
    [warning] = warnings_of_blocks.messages
    assert f"the handler of {kind} (chunk 0 of job {job.job_id}) has blocked the event loop" in warning
    assert "assert warnings_of_blocks.warned.wait(BOUND)  # the culprit's line" in warning
    assert "asyncio.to_thread" in warning
