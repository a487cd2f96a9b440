"""The producer: a crawl of up to N images is one job, which the service cuts into chunks of 500."""

from google.protobuf.duration_pb2 import Duration
from jobledger.v1.chunk_pb2 import RetryPolicy
from jobledger.v1.job_pb2 import Job
from jobledger_client import JobClient

KIND = "crawl.images"


def submit(client: JobClient, site: str, found: int, *, limit: int, priority: int | None = None) -> Job:
    """Create the job of a site on which so many images were found; its chunks inherit the priority, 5 when None."""
    return client.create_job(
        KIND,
        display_name=f"crawl of {site}",
        priority=priority,
        input={"site": site},
        item_count=min(found, limit),
        retry_policy=RetryPolicy(max_attempts=2, initial_backoff=Duration(nanos=100_000_000)),
    ).job
