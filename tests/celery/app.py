"""The Celery app of the tests, as its workers import it. What they are told is in the environment."""

import os
import signal
import time
from datetime import timedelta
from pathlib import Path

from celery import Celery, current_task
from jobledger_client import ChunkContext, NotRetryable
from jobledger_client.celery import ChunkTasks

from tests.support.bounds import BOUND

FOLDER = Path(os.environ.get("TEST_FOLDER", "."))
FOREVER = 10 * BOUND  # seconds: longer than any test waits

app = Celery("tests", broker=os.environ.get("TEST_BROKER", "redis://localhost"))
app.conf.update(
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
    broker_transport_options={"socket_connect_timeout": 5},
)
chunks = ChunkTasks(
    app,
    os.environ.get("TEST_TARGET", "127.0.0.1:7070"),
    lease_duration=timedelta(seconds=float(os.environ.get("TEST_LEASE", "6"))),
    cancel_grace=timedelta(seconds=3.0),
)


def note(ctx: ChunkContext, what: str) -> None:
    """Write down that something happened to a chunk, a line each time."""
    with (FOLDER / f"{ctx.job_id}-{ctx.chunk.index}").open("a") as notes:
        notes.write(f"{what}\n")


def told(ctx: ChunkContext, word: str) -> bool:
    """Tell whether the test has said this of the job."""
    return (FOLDER / f"{ctx.job_id}.{word}").exists()


@chunks.task("celery.count")
def count(ctx: ChunkContext) -> None:
    note(ctx, "began")
    ctx.progress(items_completed=len(ctx.items), message=f"{len(ctx.items)} items")
    ctx.artifact("count", uri=f"https://cdn.example/{ctx.chunk.index}.json")
    ctx.result("https://cdn.example/all.json")


@chunks.task("celery.gated")
def gated(ctx: ChunkContext) -> None:
    """Work until the test says go, or until the job is cancelled."""
    note(ctx, "began")
    while not told(ctx, "go"):
        ctx.progress(message="waiting")
        if ctx.wait_cancelled(timedelta(seconds=0.02)):
            note(ctx, "cancelled")
            return
    note(ctx, "ended")


@chunks.task("celery.deaf")
def deaf(ctx: ChunkContext) -> None:
    """Never look at whether to stop."""
    note(ctx, "began")
    ctx.progress(message="began")
    try:
        time.sleep(FOREVER)
    finally:
        note(ctx, "interrupted")


@chunks.task("celery.moody", max_retries=5)
def moody(ctx: ChunkContext) -> None:
    """Fail the first attempt in the way that the job's input says."""
    note(ctx, "began")
    if ctx.chunk.attempt > 1:
        return
    match ctx.input["mood"]:
        case "raises":
            raise LookupError("no such image")
        case "gives up":
            raise NotRetryable("gone", code="GONE")
        case "retries":
            raise current_task.retry(exc=ConnectionError("the site is away"), countdown=0)
        case "dies":
            os.kill(os.getpid(), signal.SIGKILL)


@chunks.task("celery.soft", soft_time_limit=3)
def soft(ctx: ChunkContext) -> None:
    if ctx.chunk.attempt == 1:
        time.sleep(FOREVER)


@chunks.task("celery.hard", time_limit=3)
def hard(ctx: ChunkContext) -> None:
    if ctx.chunk.attempt == 1:
        time.sleep(FOREVER)


if __name__ == "__main__":
    chunks.dispatcher(push_timeout=timedelta(seconds=1)).run()
