"""C: chunks of 500 that Celery runs, counts that cannot drift, and a retry that keeps what is done."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from jobledger_client import InvalidFieldError, JobClient, JobNotFoundError

from examples.bucket import Bucket
from examples.image_crawler import tree
from examples.image_crawler.__main__ import start, totals_of
from examples.image_crawler.broker import MISSING, program
from examples.image_crawler.crawl import Totals, crawl
from examples.image_crawler.submit import submit
from tests.support.server import Server
from tests.support.states import CHUNK_FAILED, COMPLETED, FAILED, summary

BOUND = 40.0
IMAGES = 1_250


@pytest.fixture(scope="module")
def files(server: Server, stack: ExitStack, folder: Path) -> Bucket:
    if program() is None:
        pytest.skip(MISSING)
    one = start(stack, server.target, folder)
    tree.make(one.path("site"), IMAGES)
    return one


@pytest.mark.parametrize(
    ("limit", "cut"),
    [
        (2_500, [(0, 499), (500, 999), (1_000, 1_499), (1_500, 1_999), (2_000, 2_499)]),
        (250, [(0, 249)]),
        (1_200, [(0, 499), (500, 999), (1_000, 1_199)]),
    ],
)
def test_a_crawl_is_cut_into_chunks_of_500(caller: JobClient, limit: int, cut: list[tuple[int, int]]):
    job = caller.create_job("crawl.cut", item_count=limit).job
    chunks = caller.list_chunks(job.job_id)
    assert [(chunk.first_item, chunk.last_item) for chunk in chunks] == cut
    assert job.priority == 5


def test_a_crawl_counts_what_a_plain_loop_counts(caller: JobClient, files: Bucket):
    found = tree.images(files.path("site"))
    job_id = submit(caller, "site", len(found), limit=1_200).job_id
    for message in caller.watch(job_id, timeout=BOUND):
        summary(message.job)  # its counts add up, in every message
    job = caller.get_job(job_id)
    assert (job.state, job.progress.percent, job.progress.items_completed) == (COMPLETED, 100, 1_200)
    assert all(chunk.task_id.startswith(f"{job_id}:{chunk.index}:") for chunk in job.chunks)
    assert totals_of(caller, job_id) == sum(map(crawl, found[:1_200]), Totals())


def test_failed_chunks_are_retried_and_the_others_kept(caller: JobClient, files: Bucket):
    tree.make(files.path("broken"), 600)
    broken = tree.images(files.path("broken"))[550]
    good = broken.read_bytes()
    broken.write_bytes(b"no image")
    job_id = submit(caller, "broken", 600, limit=600, priority=8).job_id
    caller.wait(job_id, timeout=BOUND)
    job = caller.get_job(job_id)
    assert (job.state, summary(job)) == (FAILED, {"total": 2, "completed": 1, "failed": 1})
    assert (job.chunks[1].state, job.chunks[1].attempt, job.error.chunk_index) == (CHUNK_FAILED, 2, 1)
    assert job.error.code == "UnidentifiedImageError"
    broken.write_bytes(good)
    assert caller.retry_job(job_id).retry_count == 1
    caller.wait(job_id, timeout=BOUND)
    job = caller.get_job(job_id)
    assert (job.state, [chunk.attempt for chunk in job.chunks]) == (COMPLETED, [1, 3])


def test_priorities_are_0_to_10_and_may_change(caller: JobClient):
    with pytest.raises(InvalidFieldError):
        submit(caller, "nowhere", 10, limit=10, priority=11)
    job = caller.create_job("crawl.waiting", item_count=10).job
    assert caller.update_job(job.job_id, priority=10).priority == 10


def test_deleting_a_crawl_deletes_its_chunks(caller: JobClient):
    job = caller.create_job("crawl.waiting", item_count=2_500).job
    caller.delete_job(job.job_id, force=True)
    with pytest.raises(JobNotFoundError):
        caller.list_chunks(job.job_id).page()
