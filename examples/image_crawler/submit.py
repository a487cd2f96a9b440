"""The producer: a crawl of up to N images is one job, which the service cuts into chunks of 500."""

from datetime import timedelta

from jobledger.v1.job_pb2 import Job
from jobledger_client import JobClient, RetryPolicy

KIND = "crawl.images"


def submit(client: JobClient, site: str, image_count: int, *, limit: int, priority: int | None = None) -> Job:
    """Create the job of a site on which so many images were found; its chunks inherit the priority, 5 when None."""
    return client.create_job(
        KIND,
        display_name=f"crawl of {site}",
        priority=priority,
        input={"site": site},
        item_count=min(image_count, limit),
        retry_policy=RetryPolicy(max_attempts=2, initial_backoff=timedelta(milliseconds=100)),
    ).job


def retry_chunk(client: JobClient, job_id: str, index: int) -> Job:
    """Crawl the images of a failed chunk again, while the crawl runs or after its end."""
    return client.retry_job(job_id, chunk_indexes=[index])
