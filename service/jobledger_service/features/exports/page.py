"""What an export reads: a page of jobs, each as it was at one position."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from msgspec import Struct as MsgStruct

from jobledger_service.core.store.reads import EventRow


class ExportKey(NamedTuple):
    """The place of a job in an export: the time of its creation, then its key."""

    create_time: int
    job_key: str


BEGIN: Final = ExportKey(0, "")


class ExportedJob(MsgStruct, frozen=True):
    """A job of a page: encoded, when it matches and has not changed since; or the event that shows it as it was.

    Or why it cannot be read.
    """

    place: ExportKey
    job: bytes = b""
    event: EventRow | None = None
    error: Exception | None = None


class ExportPage(MsgStruct, frozen=True):
    """Jobs that are, or may be, meant, oldest first; `through` is the last place read, None after the last job.

    `looked_at` counts the jobs that exist now, of those that were read; `position` is when that was.
    """

    shown: Sequence[ExportedJob]
    through: ExportKey | None
    looked_at: int
    position: int
