"""Jobs that wait for a worker, or for what holds them, and for how long."""

from datetime import UTC, datetime
from time import monotonic

from jobledger.v1.job_pb2 import Hold, Job

from jobledger_client._generated._enums import HoldReason, JobState
from jobledger_client._limits import scope
from jobledger_client.cli import _format as formatting
from jobledger_client.cli._connection import Notice

UNCLAIMED, HELD = "UNCLAIMED", "HELD"
_NOTICE_SECONDS = 10.0
"""A notice names a job that has waited for this time."""
_WAITING_STATES = (JobState.QUEUED, JobState.RUNNING)


class QueueWait:
    """How long no worker has worked on a watched job."""

    def __init__(self) -> None:
        self._job = Job()
        self._since = monotonic()

    def update(self, job: Job) -> None:
        """Set the current job."""
        if not (is_waiting(self._job) and is_waiting(job)):
            self._since = monotonic()
        self._job = job

    def notice(self) -> Notice | None:
        """Return that no worker works on the job, once this has lasted; else None."""
        job = self._job
        if not is_waiting(job):
            return None
        if job.holds:
            return Notice(HELD, f"it waits for {held_by(job)}")
        seconds = max(monotonic() - self._since, seconds_waited(job))
        if seconds < _NOTICE_SECONDS:
            return None
        return Notice(UNCLAIMED, f"{unclaimed(job, seconds)}; kind {job.kind}")


def is_waiting(job: Job) -> bool:
    """Return whether a job has pending chunks, and no worker works on it."""
    return job.state in _WAITING_STATES and bool(job.chunks_summary.pending) and not job.chunks_summary.processing


def held_by(job: Job) -> str:
    """Return what holds all chunks of a job; empty for nothing."""
    return ", ".join(map(_hold, job.holds))


def _hold(hold: Hold) -> str:
    if hold.reason == HoldReason.SCHEDULE:
        return f"its time, {formatting.local_time(hold.end_time)}"
    if hold.reason == HoldReason.PAUSED:
        return "the end of the pause of its kind"
    if hold.reason != HoldReason.LIMIT:
        return HoldReason(hold.reason).name
    return f"a slot of the limit {scope(hold.scope)}" + (f", place {hold.place:,}" if hold.HasField("place") else "")


def seconds_waited(job: Job) -> float:
    """Return how long ago a waiting job changed, by the clock of this machine."""
    return (datetime.now(UTC) - job.update_time.ToDatetime(tzinfo=UTC)).total_seconds()


def unclaimed(job: Job, seconds: float) -> str:
    """Return for how long no worker has worked on a waiting job."""
    if job.state == JobState.QUEUED:
        return f"no worker has claimed it for {formatting.spoken(seconds)}"
    pending = job.chunks_summary.pending
    chunks = "1 chunk waits" if pending == 1 else f"{pending:,} chunks wait"
    return f"no worker has worked on it for {formatting.spoken(seconds)}; {chunks} for one, or for the next attempt"
