"""Quotas: how much an owner may have at once, and how much it has."""

from typing import Self

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.refusals.limit_errors import QuotaExceeded
from jobledger_service.core.model.states import ENDED, JobState


class Bounds(MsgStruct, frozen=True):
    """The bounds of an owner; None means no bound, or the default."""

    max_unfinished_jobs: int | None = None
    max_stored_jobs: int | None = None
    max_watches: int | None = None
    max_artifact_bytes: int | None = None

    @property
    def on_jobs(self) -> bool:
        """Whether jobs are bounded."""
        return self.max_unfinished_jobs is not None or self.max_stored_jobs is not None

    def or_(self, defaults: "Bounds") -> "Bounds":
        """Return these bounds, and the defaults where there are none."""
        names = self.__struct_fields__
        return Bounds(*(getattr(defaults if getattr(self, name) is None else self, name) for name in names))


class JobsHeld(MsgStruct, frozen=True):
    """How many jobs an owner has: those that have not ended, and all; and the bytes of their artifacts."""

    unfinished: int = 0
    stored: int = 0
    artifact_bytes: int = 0

    def plus(self, state: JobState, jobs: int, artifact_bytes: int) -> Self:
        """Return the numbers with this many more jobs in a state, and bytes of their artifacts."""
        unfinished = self.unfinished + (0 if state in ENDED else jobs)
        return type(self)(unfinished, self.stored + jobs, self.artifact_bytes + artifact_bytes)

    def check(self, owner: str, bounds: Bounds, before: "JobsHeld") -> None:
        """Raise QuotaExceeded when a number rose beyond its bound."""
        bound = bounds.max_artifact_bytes
        if bound is not None and before.artifact_bytes < self.artifact_bytes > bound:
            raise QuotaExceeded(owner, "max_artifact_bytes", before.artifact_bytes, bound)
        if bounds.max_stored_jobs is not None and before.stored < self.stored > bounds.max_stored_jobs:
            raise QuotaExceeded(owner, "max_stored_jobs", before.stored, bounds.max_stored_jobs)
        if bounds.max_unfinished_jobs is not None and before.unfinished < self.unfinished > bounds.max_unfinished_jobs:
            raise QuotaExceeded(owner, "max_unfinished_jobs", before.unfinished, bounds.max_unfinished_jobs)
