"""What an attempt has to report and the service has not confirmed yet."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from jobledger.v1.chunk_pb2 import Artifact
from jobledger.v1.worker_service_pb2 import PassedStage, ProgressReport

MAX_REPORT_BYTES = 1024 * 1024
"""What one report may have, so that a call with it stays well below the server's limit, 4 MiB by default."""

_MAX_PASSED_STAGES = 100
_MAX_DURATION = timedelta(days=7)
_OVERHEAD = 16  # bytes of tags and lengths around an artifact


@dataclass(frozen=True, slots=True)
class Taken:
    """A report on its way, and what it was made of; `is_all` when nothing was left over for another."""

    report: ProgressReport
    is_all: bool
    progress: ProgressReport | None
    passed: int
    artifacts: Mapping[str, Artifact]
    job_artifacts: Mapping[str, Artifact]


@dataclass(slots=True)
class _Stages:
    """The stages since the last confirmed report. `since` is when the latest was entered, None before the first."""

    since: float | None = None
    is_reported: bool = True
    passed: list[PassedStage] = field(default_factory=list)


class PendingReport:
    """Progress, coalesced to the latest, and artifacts by name. Any thread may add to it.

    What was added is never changed, only replaced, so that a confirmation is told from what came after it.
    """

    def __init__(
        self, *, has_plan: bool, wake: Callable[[], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._has_plan = has_plan
        self._wake = wake
        self._clock = clock
        self._lock = threading.Lock()
        self._stage = ""
        self._stages = _Stages()
        self._progress: ProgressReport | None = None
        self._artifacts: dict[str, Artifact] = {}
        self._job_artifacts: dict[str, Artifact] = {}

    def __bool__(self) -> bool:
        return self._progress is not None or bool(self._artifacts or self._job_artifacts)

    @property
    def stage(self) -> str:
        """The stage that was named last; empty before."""
        return self._stage

    def add_progress(self, report: ProgressReport) -> None:
        """Add a report; what it leaves out stays as it was reported before."""
        with self._lock:
            if report.HasField("stage") and report.stage != self._stage:
                self._enter(report.stage)
            self._progress = report if self._progress is None else self._merged(self._progress, report)
        self._wake()

    def add_artifact(self, name: str, artifact: Artifact, *, job: bool) -> None:
        """Add an artifact of the chunk, or of the job."""
        with self._lock:
            (self._job_artifacts if job else self._artifacts)[name] = artifact
        self._wake()

    def take(self, max_bytes: int = MAX_REPORT_BYTES) -> Taken:
        """Return a report with all that is not confirmed, as far as it fits into `max_bytes`; at least one artifact."""
        with self._lock:
            report = ProgressReport()
            if self._progress is not None:
                report.CopyFrom(self._progress)
                report.passed_stages.extend(self._stages.passed)
                if report.HasField("stage") and self._stages.since is not None:
                    _set(report.stage_duration, self._clock() - self._stages.since)
            artifacts, room = _first(self._artifacts, max_bytes - report.ByteSize(), at_least=1)
            job_artifacts, _ = _first(self._job_artifacts, room, at_least=0 if artifacts else 1)
            for name, artifact in artifacts.items():
                report.artifacts[name].CopyFrom(artifact)
            for name, artifact in job_artifacts.items():
                report.job_artifacts[name].CopyFrom(artifact)
            is_all = len(artifacts) == len(self._artifacts) and len(job_artifacts) == len(self._job_artifacts)
            return Taken(report, is_all, self._progress, len(self._stages.passed), artifacts, job_artifacts)

    def confirm(self, taken: Taken) -> None:
        """Note that the service has this; what was added meanwhile remains."""
        with self._lock:
            if self._progress is taken.progress:
                self._progress = None
                self._stages.is_reported = True
            del self._stages.passed[: taken.passed]
            _remove(self._artifacts, taken.artifacts)
            _remove(self._job_artifacts, taken.job_artifacts)

    def _enter(self, stage: str) -> None:
        now, stages = self._clock(), self._stages
        if not stages.is_reported and stages.since is not None and len(stages.passed) < _MAX_PASSED_STAGES:
            passed = PassedStage(stage=self._stage)
            _set(passed.duration, now - stages.since)
            stages.passed.append(passed)
        self._stage, stages.since, stages.is_reported = stage, now, False

    def _merged(self, before: ProgressReport, report: ProgressReport) -> ProgressReport:
        merged = ProgressReport()
        merged.CopyFrom(before)
        if report.HasField("stage"):
            merged.ClearField("stage_percent")
        if report.HasField("items_completed") or (self._has_plan and report.HasField("stage")):
            merged.ClearField("percent")  # the service computes it from these, which are newer
        merged.MergeFrom(report)
        return merged


def _first(artifacts: Mapping[str, Artifact], room: int, *, at_least: int) -> tuple[dict[str, Artifact], int]:
    """Return the first artifacts, as many as there is room for, and the bytes that are left."""
    fitting: dict[str, Artifact] = {}
    for name, artifact in artifacts.items():
        left = room - artifact.ByteSize() - len(name.encode()) - _OVERHEAD
        if left < 0 and len(fitting) >= at_least:
            break
        fitting[name], room = artifact, left
    return fitting, room


def _set(duration: Duration, seconds: float) -> None:
    duration.FromTimedelta(min(timedelta(seconds=seconds), _MAX_DURATION))


def _remove(pending: dict[str, Artifact], confirmed: Mapping[str, Artifact]) -> None:
    for name, artifact in confirmed.items():
        if pending.get(name) is artifact:
            del pending[name]
