"""The Celery app of `celery -A examples.image_crawler.tasks worker`; run as a module, it is the dispatcher beside it.

Told by the environment: CRAWLER_BROKER, JOBLEDGER_TARGET, BUCKET_FOLDER, BUCKET_URL.
"""

import os
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from celery import Celery
from jobledger_client import ChunkContext
from jobledger_client.celery import ChunkTasks

from examples.bucket import Bucket

from .crawl import Totals, crawl
from .submit import KIND
from .tree import images

app = Celery("crawler", broker=os.environ.get("CRAWLER_BROKER", "redis://localhost"))
chunks = ChunkTasks(app, os.environ.get("JOBLEDGER_TARGET", "127.0.0.1:7070"), lease_duration=timedelta(seconds=6))
files = Bucket(Path(os.environ.get("BUCKET_FOLDER", ".")), os.environ.get("BUCKET_URL", "http://localhost"))


@chunks.task(KIND)
def crawl_chunk(ctx: ChunkContext) -> None:
    """Crawl the images of one chunk; what they add up to is its output."""
    paths = images(files.path(ctx.input["site"]))
    totals = Totals()
    for done, item in enumerate(ctx.items, start=1):
        totals += crawl(paths[item])
        ctx.progress(items_completed=done, message=paths[item].name)
        if ctx.cancelled:
            return
    ctx.output = {**asdict(totals), "digest": str(totals.digest)}  # larger than the integers that JSON keeps exact


if __name__ == "__main__":
    chunks.dispatcher().run()
