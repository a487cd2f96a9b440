"""The verbs for one job or many: their calls and their dialogs."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeAlias

from jobledger.v1 import bulk_pb2
from jobledger_client import AsyncJobClient, JobChanges, JobFilterFields

BulkResponse: TypeAlias = (
    bulk_pb2.CancelJobsResponse | bulk_pb2.RetryJobsResponse | bulk_pb2.DeleteJobsResponse | bulk_pb2.UpdateJobsResponse
)
MAX_REASON: Final = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What people chose in the dialog."""

    reason: str = ""
    force: bool = False
    priority: int = 5


@dataclass(frozen=True, slots=True)
class Target:
    """The jobs: those that are named, or else those that match a filter. `owner` is empty for the key's own."""

    job_ids: Sequence[str] = ()
    filter: JobFilterFields | None = None
    owner: str = ""

    def fields(self) -> dict[str, Any]:
        """Return the fields of a call."""
        if self.job_ids:
            return {"job_ids": list(self.job_ids)} | ({"owner": self.owner} if self.owner else {})
        chosen = {name: value for name, value in (self.filter or {}).items() if value}
        chosen.pop("include_service_jobs", None)  # a bulk verb never changes these
        return chosen


Call: TypeAlias = Callable[[AsyncJobClient, Target, Choices, bool], Awaitable[BulkResponse]]


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb over jobs. `call` takes the jobs, the choices, and whether to count only."""

    name: str
    button: str
    about: str
    call: Call = field(repr=False)
    force: str = ""
    """The label of the checkbox for force; empty for a verb without one."""
    has_priority: bool = False
    is_dangerous: bool = False


async def _cancel(client: AsyncJobClient, jobs: Target, choices: Choices, validate_only: bool) -> BulkResponse:  # noqa: FBT001
    return await client.bulk.cancel_jobs(
        reason=choices.reason, force=choices.force, validate_only=validate_only, timeout=_TIMEOUT, **jobs.fields()
    )


async def _retry(client: AsyncJobClient, jobs: Target, choices: Choices, validate_only: bool) -> BulkResponse:  # noqa: FBT001
    return await client.bulk.retry_jobs(
        reason=choices.reason, validate_only=validate_only, timeout=_TIMEOUT, **jobs.fields()
    )


async def _prioritise(client: AsyncJobClient, jobs: Target, choices: Choices, validate_only: bool) -> BulkResponse:  # noqa: FBT001
    return await client.bulk.update_jobs(
        JobChanges(priority=choices.priority),
        reason=choices.reason,
        validate_only=validate_only,
        timeout=_TIMEOUT,
        **jobs.fields(),
    )


async def _delete(client: AsyncJobClient, jobs: Target, choices: Choices, validate_only: bool) -> BulkResponse:  # noqa: FBT001
    return await client.bulk.delete_jobs(
        reason=choices.reason, force=choices.force, validate_only=validate_only, timeout=_TIMEOUT, **jobs.fields()
    )


_TIMEOUT: Final = timedelta(seconds=30)

VERBS: Final = (
    Verb(
        "cancel",
        "Cancel",
        "Stops jobs: their workers get 30 s to release their chunks.",
        _cancel,
        "At once: the workers lose their leases",
    ),
    Verb("retry", "Retry", "Runs the failed and cancelled chunks of failed and cancelled jobs again.", _retry),
    Verb(
        "priority",
        "Priority",
        "Changes the priority of jobs that have not ended; 10 is the most urgent.",
        _prioritise,
        has_priority=True,
    ),
    Verb(
        "delete",
        "Delete",
        "Deletes jobs that have ended, with their chunks. This cannot be undone.",
        _delete,
        "Also jobs that have not ended",
        is_dangerous=True,
    ),
)
