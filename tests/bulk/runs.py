"""What the tests of runs have in common: many jobs at once, a run followed to its end, and what its report says."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict
from jobledger.v1.entry_error_pb2 import EntryError
from jobledger.v1.error_reason_pb2 import ErrorReason
from jobledger.v1.event_pb2 import Change
from jobledger.v1.job_pb2 import Job
from jobledger.v1.job_service_pb2 import BatchCreateJobsRequest, CreateJobRequest
from jobledger_service.core.api.job_requests import MAX_BATCH_JOBS

from tests.conftest import QUICK
from tests.support.api import Api
from tests.support.server import Server
from tests.support.states import CANCELLED, COMPLETED, FAILED

ENDED = {COMPLETED, FAILED, CANCELLED}


@contextmanager
def deleting_in(roots: str, database: str, directory: Path, **settings: str) -> Iterator[Server]:
    """Run a server that may delete artifacts below these roots."""
    server = Server(database, directory, QUICK | {"artifact_roots": roots} | settings).start()
    yield server
    assert server.stop() == 0
    assert server.defects() == []


async def create_many(api: Api, kind: str, count: int, **fields: object) -> list[str]:
    """Create jobs, as many in a call as it may have, and return their ids."""
    requests = [CreateJobRequest(kind=kind, **fields)] * count
    results = []
    for begin in range(0, count, MAX_BATCH_JOBS):
        batch = BatchCreateJobsRequest(requests=requests[begin : begin + MAX_BATCH_JOBS])
        results += (await api.jobs.BatchCreateJobs(batch)).results
    assert all(result.HasField("job") for result in results)
    return [result.job.job_id for result in results]


async def ended(api: Api, job_id: str) -> Job:
    """Follow a job until it has ended."""
    async with api.watch_job(job_id) as watch:
        return (await watch.until(lambda message: message.job.state in ENDED)).job


def report(job: Job) -> dict[str, Any]:
    """Return the report of a job of the service's own."""
    return MessageToDict(job.artifacts["report"].metadata)


def reason_of(refusal: dict[str, Any]) -> str:
    """Return the reason of a refusal in a report, whose error is an EntryError."""
    error = ParseDict(refusal["error"], EntryError())
    assert error.code
    assert error.message
    return ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_")


async def changes(api: Api, job_id: str, kind_of_change: int) -> list[Change]:
    """Return a job's changes of one type."""
    events = (await api.list_events(job_id, page_size=500)).events
    return [change for event in events for change in event.changes if change.type == kind_of_change]
