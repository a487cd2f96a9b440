"""The retention of ended jobs."""

from msgspec import Struct as MsgStruct
from msgspec.structs import replace

from jobledger_service.core.model.bounds.limits import MAX_TIME
from jobledger_service.core.model.job import Job


class Retention(MsgStruct, frozen=True):
    """The retention of ended jobs by state, in microseconds; None for ever. A caller's expire_time takes precedence."""

    completed: int | None = None
    failed: int | None = None
    cancelled: int | None = None

    def applied(self, before: Job | None, job: Job) -> Job:
        """Return a job with the expire_time of its end, or without the one of an earlier end."""
        if before is not None and before.ended == job.ended:
            return job
        if job.end_time is None:
            return replace(job, expire_time=None, expires_by_rule=False) if job.expires_by_rule else job
        kept: int | None = getattr(self, job.state.lower())
        if kept is None or job.expire_time is not None:
            return job
        return replace(job, expire_time=min(job.end_time + kept, MAX_TIME), expires_by_rule=True)
