"""Completed means ran: a chunk is completed only when its handler has run to its normal end."""

import asyncio
import functools
import threading
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from itertools import starmap
from multiprocessing.pool import ThreadPool
from typing import Any, Self

import pytest
from jobledger_client import AsyncJobClient, ChunkContext, JobState, JobView, RetryPolicy, Worker
from jobledger_client._engines._callbacks import call

from tests.client.conftest import Serving, Waits
from tests.support.bounds import BOUND, CALL_TIMEOUT
from tests.support.server import Server

pytestmark = pytest.mark.one_store("handlers know nothing of the store")

ONCE = RetryPolicy(max_attempts=1)

Work = Callable[[ChunkContext], Awaitable[None]]


def wrapped(work: Work) -> object:
    @functools.wraps(work)
    def wrapper(ctx: ChunkContext) -> Awaitable[None]:
        return work(ctx)

    return wrapper


def wrapped_and_not_awaited(work: Work) -> object:
    async def wrapper(ctx: ChunkContext) -> Any:
        return work(ctx)

    return wrapper


def wrapped_to_block(work: Work) -> object:
    @functools.wraps(work)
    def wrapper(ctx: ChunkContext) -> None:
        asyncio.run(work(ctx))

    return wrapper


class Callable_:  # noqa: N801
    def __init__(self, work: Work) -> None:
        self.work = work

    async def __call__(self, ctx: ChunkContext) -> object:
        return await self.work(ctx)


class Promise:
    def __init__(self, work: Awaitable[None]) -> None:
        self.work = work

    def __await__(self) -> Any:
        return self.work.__await__()


@types.coroutine
def by_generators(work: Awaitable[None]) -> Any:
    yield from work.__await__()


def on_a_pool(work: Work) -> object:
    def handler(ctx: ChunkContext) -> Future[None]:
        return ThreadPoolExecutor(1).submit(asyncio.run, work(ctx))

    return handler


FORMS: dict[str, Callable[[Work], Any]] = {
    "async def": lambda work: work,
    "functools.wraps": wrapped,
    "an async wrapper that forgot to await": wrapped_and_not_awaited,
    "a wrapper that blocks": wrapped_to_block,
    "a lambda": lambda work: lambda ctx: work(ctx),  # noqa: PLW0108 - what is tested
    "functools.partial": functools.partial,
    "a partial of a wrapper": lambda work: functools.partial(wrapped(work)),
    "async __call__": Callable_,
    "a partial of async __call__": lambda work: functools.partial(Callable_(work)),
    "a coroutine of generators": lambda work: lambda ctx: by_generators(work(ctx)),
    "an awaitable": lambda work: lambda ctx: Promise(work(ctx)),
    "a future of a pool": on_a_pool,
}


@pytest.mark.guarantee("3c.1")
async def test_completed_means_ran_whatever_form_the_handler_has(
    client: AsyncJobClient, server: Server, serving: Serving, kind: str
):
    may_end = threading.Event()
    states_at_the_end: dict[str, int] = {}
    kinds = {f"{kind}.form{number}": form for number, form in enumerate(FORMS)}
    jobs = [(await client.create_job(of_form)).job for of_form in kinds]

    async def work(ctx: ChunkContext) -> None:
        assert await asyncio.to_thread(may_end.wait, BOUND)
        async with AsyncJobClient(server.target, timeout=CALL_TIMEOUT) as own:
            states_at_the_end[kinds[ctx.kind]] = (await own.get_job(ctx.job_id)).state

    async with serving({of_form: FORMS[form](work) for of_form, form in kinds.items()}):
        waiting = [asyncio.create_task(client.wait(job.job_id, timeout=CALL_TIMEOUT)) for job in jobs]
        may_end.set()
        assert {(await ended).state for ended in waiting} == {JobState.COMPLETED}
    assert states_at_the_end == dict.fromkeys(FORMS, JobState.RUNNING)


async def failing(ctx: ChunkContext) -> None:
    await asyncio.sleep(0)
    raise KeyError("colour")


async def async_generator(ctx: ChunkContext) -> AsyncIterator[int]:
    yield 1


def generator(ctx: ChunkContext) -> Iterator[int]:
    yield 1


class Pieces:
    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> int:
        raise StopAsyncIteration


def apply_async(ctx: ChunkContext) -> object:
    with ThreadPool(1) as pool:
        return pool.apply_async(str, [1])


UNRUN: dict[str, tuple[Any, str, str]] = {
    **{
        f"an async handler that is hidden by {form}": (FORMS[form](failing), "KeyError", "colour")
        for form in ("functools.wraps", "a lambda", "a future of a pool", "an awaitable")
    },
    "a generator": (FORMS["a lambda"](generator), "TypeError", "returned the generator generator, which has not run"),
    "an asynchronous generator": (
        FORMS["a lambda"](async_generator),
        "TypeError",
        "returned the generator async_generator, which has not run",
    ),
    "map": (lambda ctx: map(str, range(3)), "TypeError", "a map, which has not run"),
    "filter": (lambda ctx: filter(str, range(3)), "TypeError", "a filter, which has not run"),
    "itertools.starmap": (lambda ctx: starmap(str, [(1,)]), "TypeError", "a starmap, which has not run"),
    "an asynchronous iterator": (lambda ctx: Pieces(), "TypeError", "a Pieces, which has not run"),
    "a result of a pool": (apply_async, "TypeError", "a ApplyResult of a pool, which may not have run"),
}


async def test_work_that_fails_or_is_returned_before_it_ran_fails_the_chunk(
    client: AsyncJobClient, serving: Serving, kind: str
):
    kinds = {f"{kind}.form{number}": form for number, form in enumerate(UNRUN)}
    jobs = [(await client.create_job(of_form, retry_policy=ONCE)).job for of_form in kinds]
    async with serving({of_form: UNRUN[form][0] for of_form, form in kinds.items()}):
        ended = [await client.wait(job.job_id, timeout=CALL_TIMEOUT) for job in jobs]
    for job in ended:
        _, code, message = UNRUN[kinds[job.kind]]
        assert (job.state, job.error.code) == (JobState.FAILED, code), kinds[job.kind]
        assert message in job.error.message


class Generating:
    def __call__(self, ctx: ChunkContext) -> Iterator[int]:
        yield 1


@pytest.mark.parametrize(
    "handler", [generator, async_generator, functools.partial(generator), Generating(), "crawl.py", None]
)
def test_what_could_never_run_to_its_end_is_refused_when_it_is_registered(handler: Any):
    worker = Worker("127.0.0.1:1")
    with pytest.raises(TypeError, match="a handler must"):
        worker.handler("a.b")(handler)


async def test_a_hidden_async_handler_stops_like_any_other(client: AsyncJobClient, serving: Serving, kind: str):
    handler = Waits()
    job = (await client.create_job(kind)).job
    async with serving({kind: wrapped(handler.__call__)}, drain_timeout=timedelta(seconds=0.01)) as worker:
        await handler.started.wait()
        worker.stop()
        await handler.stopped.wait()
    shown = await client.get_job(job.job_id, view=JobView.FULL)
    assert (shown.state, shown.chunks[0].attempt) == (JobState.RUNNING, 0)


@pytest.mark.parametrize("form", ["async def", "functools.wraps", "a lambda", "functools.partial", "async __call__"])
async def test_what_an_integration_is_given_runs_to_its_end_in_whatever_form(form: str):
    ran: list[str] = []

    async def work(task_id: str) -> str:
        await asyncio.sleep(0)
        ran.append(task_id)
        return f"{task_id} is stopped"

    assert await call(FORMS[form](work), "t") == "t is stopped"
    assert ran == ["t"]
