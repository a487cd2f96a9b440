"""What an attempt has to report and the service has not confirmed yet."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from jobledger.v1.chunk_pb2 import Artifact
from jobledger.v1.worker_service_pb2 import LeaseReport, ProgressReport


@dataclass(frozen=True, slots=True)
class Taken:
    """A report on its way, and what it was made of."""

    report: LeaseReport
    progress: ProgressReport | None
    artifacts: dict[str, Artifact]
    job_artifacts: dict[str, Artifact]


class News:
    """Progress, coalesced to the latest, and artifacts by name. Any thread may add to it.

    What was added is never changed, only replaced, so that a confirmation is told from news that came after it.
    """

    def __init__(self, *, has_plan: bool, wake: Callable[[], None]) -> None:
        self._has_plan = has_plan
        self._wake = wake
        self._lock = threading.Lock()
        self._progress: ProgressReport | None = None
        self._artifacts: dict[str, Artifact] = {}
        self._job_artifacts: dict[str, Artifact] = {}

    def __bool__(self) -> bool:
        return self._progress is not None or self.has_artifacts

    @property
    def has_artifacts(self) -> bool:
        """Tell whether an artifact is not confirmed."""
        return bool(self._artifacts or self._job_artifacts)

    def add_progress(self, report: ProgressReport) -> None:
        """Add a report; what it leaves out stays as it was reported before."""
        with self._lock:
            self._progress = report if self._progress is None else self._merged(self._progress, report)
        self._wake()

    def add_artifact(self, name: str, artifact: Artifact, *, job: bool) -> None:
        """Add an artifact of the chunk, or of the job."""
        with self._lock:
            (self._job_artifacts if job else self._artifacts)[name] = artifact
        self._wake()

    def take(self, lease_token: str) -> Taken:
        """Return a report with all that is not confirmed."""
        with self._lock:
            progress, artifacts, job_artifacts = self._progress, dict(self._artifacts), dict(self._job_artifacts)
        report = LeaseReport(
            lease_token=lease_token, progress=progress, artifacts=artifacts, job_artifacts=job_artifacts
        )
        return Taken(report, progress, artifacts, job_artifacts)

    def confirm(self, taken: Taken) -> None:
        """Note that the service has this; what was added meanwhile remains."""
        with self._lock:
            if self._progress is taken.progress:
                self._progress = None
            _remove(self._artifacts, taken.artifacts)
            _remove(self._job_artifacts, taken.job_artifacts)

    def _merged(self, before: ProgressReport, report: ProgressReport) -> ProgressReport:
        merged = ProgressReport()
        merged.CopyFrom(before)
        if report.HasField("stage"):
            merged.ClearField("stage_percent")
        if report.HasField("items_completed") or (self._has_plan and report.HasField("stage")):
            merged.ClearField("percent")  # the service computes it from these, which are newer
        merged.MergeFrom(report)
        return merged


def _remove(pending: dict[str, Artifact], confirmed: dict[str, Artifact]) -> None:
    for name, artifact in confirmed.items():
        if pending.get(name) is artifact:
            del pending[name]
