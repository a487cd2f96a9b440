"""The verbs for one job or many: their calls and their dialogs."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeAlias

from jobledger.v1 import bulk_pb2
from jobledger_client import AsyncJobClient, CancelOutcome, JobChanges, JobFilterFields

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
class NamedJobs:
    """Jobs as a page shows them, by job_id: a verb changes them only while they have these uids.

    `owner` is empty for the key's own.
    """

    uids: Mapping[str, str]
    owner: str = ""


Target: TypeAlias = NamedJobs | JobFilterFields
"""The jobs of a verb: those that are named, or all that match."""


Call: TypeAlias = Callable[[AsyncJobClient, JobFilterFields, Choices, bool], Awaitable[BulkResponse]]
Change: TypeAlias = Callable[[AsyncJobClient, Choices, dict[str, Any]], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb over jobs.

    `call` takes a filter, the choices, and whether to count only. `change` changes one job, by its job_id, uid and
    owner, and returns False when it left the job as it was.
    """

    name: str
    button: str
    about: str
    call: Call = field(repr=False)
    change: Change = field(repr=False)
    force: str = ""
    """The label of the checkbox for force; empty for a verb without one."""
    has_priority: bool = False
    is_dangerous: bool = False


async def _cancel(
    client: AsyncJobClient,
    jobs: JobFilterFields,
    choices: Choices,
    validate_only: bool,  # noqa: FBT001
) -> BulkResponse:
    return await client.bulk.cancel_jobs(
        reason=choices.reason, force=choices.force, validate_only=validate_only, timeout=_TIMEOUT, **_conditions(jobs)
    )


async def _retry(
    client: AsyncJobClient,
    jobs: JobFilterFields,
    choices: Choices,
    validate_only: bool,  # noqa: FBT001
) -> BulkResponse:
    return await client.bulk.retry_jobs(
        reason=choices.reason, validate_only=validate_only, timeout=_TIMEOUT, **_conditions(jobs)
    )


async def _prioritise(
    client: AsyncJobClient,
    jobs: JobFilterFields,
    choices: Choices,
    validate_only: bool,  # noqa: FBT001
) -> BulkResponse:
    return await client.bulk.update_jobs(
        JobChanges(priority=choices.priority),
        reason=choices.reason,
        validate_only=validate_only,
        timeout=_TIMEOUT,
        **_conditions(jobs),
    )


async def _delete(
    client: AsyncJobClient,
    jobs: JobFilterFields,
    choices: Choices,
    validate_only: bool,  # noqa: FBT001
) -> BulkResponse:
    return await client.bulk.delete_jobs(
        reason=choices.reason, force=choices.force, validate_only=validate_only, timeout=_TIMEOUT, **_conditions(jobs)
    )


def _conditions(jobs: JobFilterFields) -> dict[str, Any]:
    """Return the conditions of a filter without that on the service's own jobs, which no such call changes."""
    return {name: value for name, value in jobs.items() if value and name != "include_service_jobs"}


async def _cancel_one(client: AsyncJobClient, choices: Choices, job: dict[str, Any]) -> bool:
    cancelled = await client.cancel_job(reason=choices.reason, force=choices.force, timeout=_TIMEOUT, **job)
    return cancelled.outcome != CancelOutcome.ALREADY_ENDED


async def _retry_one(client: AsyncJobClient, choices: Choices, job: dict[str, Any]) -> bool:
    await client.retry_job(reason=choices.reason, timeout=_TIMEOUT, **job)
    return True


async def _prioritise_one(client: AsyncJobClient, choices: Choices, job: dict[str, Any]) -> bool:
    await client.update_job(priority=choices.priority, reason=choices.reason, timeout=_TIMEOUT, **job)
    return True


async def _delete_one(client: AsyncJobClient, choices: Choices, job: dict[str, Any]) -> bool:
    await client.delete_job(reason=choices.reason, force=choices.force, timeout=_TIMEOUT, **job)
    return True


_TIMEOUT: Final = timedelta(seconds=30)

VERBS: Final = (
    Verb(
        "cancel",
        "Cancel",
        "Stops jobs: their workers get 30 s to release their chunks.",
        _cancel,
        _cancel_one,
        "At once: the workers lose their leases",
    ),
    Verb(
        "retry", "Retry", "Runs the failed and cancelled chunks of failed and cancelled jobs again.", _retry, _retry_one
    ),
    Verb(
        "priority",
        "Priority",
        "Changes the priority of jobs that have not ended; 10 is the most urgent.",
        _prioritise,
        _prioritise_one,
        has_priority=True,
    ),
    Verb(
        "delete",
        "Delete",
        "Deletes jobs that have ended, with their chunks. This cannot be undone.",
        _delete,
        _delete_one,
        "Also jobs that have not ended",
        is_dangerous=True,
    ),
)
