"""The example: `python -m examples.image_crawler`."""

from contextlib import ExitStack
from pathlib import Path

from google.protobuf.json_format import MessageToDict
from jobledger_client import JobClient

from examples import processes
from examples.bucket import Bucket, bucket
from examples.processes import say

from . import tree
from .broker import broker
from .crawl import Totals, crawl
from .submit import KIND, submit

WORKER = ["worker", "--concurrency=2", "--without-gossip", "--without-mingle", "--loglevel=error"]


def start(stack: ExitStack, target: str, folder: Path) -> Bucket:
    """Start Redis, a Celery worker and the dispatcher; return the bucket that all share."""
    files = stack.enter_context(bucket(folder / "bucket"))
    environment = {
        "CRAWLER_BROKER": stack.enter_context(broker()),
        "JOBLEDGER_TARGET": target,
        "BUCKET_FOLDER": str(files.folder),
        "BUCKET_URL": files.url,
        "PYTHONWARNINGS": "ignore",  # Celery warns of a worker that root runs, as in a container
    }
    stack.enter_context(
        processes.worker("celery", "-q", "-A", "examples.image_crawler.tasks", *WORKER, environment=environment)
    )
    stack.enter_context(processes.worker("examples.image_crawler.tasks", environment=environment))
    return files


def totals_of(client: JobClient, job_id: str) -> Totals:
    """Add up what the chunks found."""
    totals = Totals()
    for chunk in client.list_chunks(job_id):
        totals += Totals(**{name: int(value) for name, value in MessageToDict(chunk.output).items()})
    return totals


def run(stack: ExitStack, target: str, folder: Path) -> None:
    """Crawl 2,500 images, and 250 that are more urgent, and compare with a plain loop."""
    client = stack.enter_context(JobClient(target))
    files = start(stack, target, folder)
    tree.make(files.path("example.org"), 2_600)
    image_count = len(tree.images(files.path("example.org")))
    large = submit(client, "example.org", image_count, limit=2_500)
    small = submit(client, "example.org", image_count, limit=250, priority=9)
    for job in (large, small):
        cut = ", ".join(f"{chunk.first_item}-{chunk.last_item}" for chunk in client.list_chunks(job.job_id))
        say(f"{job.progress.items_total} images in {job.chunks_summary.total} chunks: {cut}")
    for message in client.watch(large.job_id):
        progress, counts = message.job.progress, message.job.chunks_summary
        say(f"  {progress.percent:5.1f} %, {progress.items_completed} images; {counts.processing} chunks in work")
    done = client.statistics.get_job_stats(kinds=[KIND]).total.activity
    say(f"Statistics: {done.items_completed} images in {done.chunks_completed} chunks; {done.failed_attempts} failed")
    processes.show("GetJob answers for the urgent one", client.wait(small.job_id, timeout=processes.LIMIT))
    for job, limit in ((large, 2_500), (small, 250)):
        expected = sum((crawl(path) for path in tree.images(files.path("example.org"))[:limit]), Totals())
        counted = totals_of(client, job.job_id)
        say(f"\n{counted} is {'what' if counted == expected else 'NOT what'} a plain loop counts")
        if counted != expected:
            raise SystemExit(f"a plain loop counts {expected}")


if __name__ == "__main__":
    processes.play("image_crawler", run)
