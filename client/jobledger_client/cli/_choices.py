"""The values of options: states, orders and the like, shown in the help and completed by the shell."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from jobledger_client.cli import _completion as completion


def choice(choices: type[StrEnum], text: str, *names: str, panel: str | None = None) -> Any:  # noqa: ANN401 - typer's
    """Return an option whose value is one of `choices`, in upper or lower case."""
    return typer.Option(*names, case_sensitive=False, metavar="|".join(choices), help=text, rich_help_panel=panel)


class JobStateName(StrEnum):
    """The states of a job."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class ChunkStateName(StrEnum):
    """The states of a chunk."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class DeliveryStateName(StrEnum):
    """The states of a webhook's delivery."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    DEAD = "DEAD"


class EventName(StrEnum):
    """The event types of a webhook."""

    JOB_CREATED = "job.created"
    JOB_STARTED = "job.started"
    JOB_PROGRESS = "job.progress"
    JOB_COMPLETED = "job.completed"
    JOB_FAILED = "job.failed"
    JOB_CANCELLED = "job.cancelled"
    JOB_RETRIED = "job.retried"
    JOB_DELETED = "job.deleted"


class OrderName(StrEnum):
    """The orders of a list."""

    CREATE_TIME = "CREATE_TIME"
    UPDATE_TIME = "UPDATE_TIME"
    END_TIME = "END_TIME"
    PRIORITY = "PRIORITY"


class Format(StrEnum):
    """The formats of an export."""

    CSV = "csv"
    JSONL = "jsonl"


class Step(StrEnum):
    """The steps of a series."""

    HOUR = "hour"
    DAY = "day"


JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="The job.", autocompletion=completion.job_ids)]
Kinds = Annotated[
    list[str] | None,
    typer.Option(metavar="KIND", help="May be repeated. [default: all]", autocompletion=completion.kinds),
]
ServiceJobs = Annotated[
    bool | None, typer.Option("--service-jobs", help='Also the service\'s own jobs, of kinds "jobledger.…".')
]
