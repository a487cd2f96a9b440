"""A job that waits: for whom, and for how long by now."""

from datetime import UTC, datetime
from time import monotonic

from jobledger.v1.job_pb2 import Job, JobState

from jobledger_client.cli import _words as words
from jobledger_client.cli._liveness import Notice

UNCLAIMED, FULL = "UNCLAIMED", "WAITS_FOR_SLOT"
_PATIENCE_SECONDS = 10.0
"""Work that lies about for longer is worth a word."""
_WAITING = (JobState.JOB_STATE_QUEUED, JobState.JOB_STATE_RUNNING)


class Waiting:
    """How long nobody has worked on a job, as far as its watch tells."""

    def __init__(self) -> None:
        self._job = Job()
        self._since = monotonic()

    def see(self, job: Job) -> None:
        """Take the job as it is now."""
        if not (waits(self._job) and waits(job)):
            self._since = monotonic()
        self._job = job

    def notice(self) -> Notice | None:
        """Return that nobody works on the job, once that has lasted; None while all is well."""
        job = self._job
        if not waits(job):
            return None
        if job.HasField("slot_wait"):
            return Notice(FULL, f"it waits for a slot under the limit {job.slot_wait.scope}")
        seconds = max(monotonic() - self._since, seconds_waited(job))
        if seconds < _PATIENCE_SECONDS:
            return None
        return Notice(UNCLAIMED, f"{unclaimed(job, seconds)}; kind {job.kind}")


def waits(job: Job) -> bool:
    """Whether a job has work, and nobody works on it."""
    return job.state in _WAITING and bool(job.chunks_summary.pending) and not job.chunks_summary.processing


def seconds_waited(job: Job) -> float:
    """Return for how long a waiting job has not changed, by the clock of this machine."""
    return (datetime.now(UTC) - job.update_time.ToDatetime(tzinfo=UTC)).total_seconds()


def unclaimed(job: Job, seconds: float) -> str:
    """Return for how long nobody has worked on a waiting job."""
    if job.state == JobState.JOB_STATE_QUEUED:
        return f"no worker has claimed it for {words.spoken(seconds)}"
    pending = job.chunks_summary.pending
    chunks = "1 chunk waits" if pending == 1 else f"{pending:,} chunks wait"
    return f"no worker has been on it for {words.spoken(seconds)}; {chunks} for one, or for the next attempt"
