"""The reports of an attempt that the service has not confirmed yet."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct
from jobledger.v1.chunk_pb2 import Artifact
from jobledger.v1.worker_service_pb2 import PassedStage, ProgressReport

MAX_REPORT_BYTES = 1024 * 1024
"""The size of one report; a call with it stays well below the server's limit, 4 MiB by default."""

_MAX_PASSED_STAGES = 100
_MAX_DURATION = timedelta(days=7)
_OVERHEAD_BYTES = 16  # tags and lengths around an artifact


@dataclass(frozen=True, slots=True)
class ReportSnapshot:
    """A report to send, and its sources; `is_all` when it contains everything that was pending."""

    report: ProgressReport
    is_all: bool
    progress: ProgressReport | None
    passed_stages: int
    artifacts: Mapping[str, Artifact]
    job_artifacts: Mapping[str, Artifact]
    checkpoint: Struct | None


@dataclass(slots=True)
class _Stages:
    """The stages since the last confirmed report. `since` is when the latest began, None before the first."""

    since: float | None = None
    is_reported: bool = True
    passed: list[PassedStage] = field(default_factory=list)


class PendingReport:
    """Progress, merged to the latest values, artifacts by name, and a checkpoint. Any thread may add to it.

    It replaces messages and never changes them, so that a confirmation does not remove what was added later.
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
        self._checkpoint: Struct | None = None

    def __bool__(self) -> bool:
        values = (self._progress, self._checkpoint)
        return any(value is not None for value in values) or bool(self._artifacts or self._job_artifacts)

    @property
    def stage(self) -> str:
        """The stage reported last; empty before the first."""
        return self._stage

    def add_progress(self, report: ProgressReport) -> None:
        """Add a report; values that it lacks keep their earlier report."""
        with self._lock:
            if report.HasField("stage") and report.stage != self._stage:
                self._enter(report.stage)
            self._progress = report if self._progress is None else self._merge(self._progress, report)
        self._wake()

    def add_artifact(self, name: str, artifact: Artifact, *, job: bool) -> None:
        """Add an artifact of the chunk, or of the job."""
        with self._lock:
            (self._job_artifacts if job else self._artifacts)[name] = artifact
        self._wake()

    def set_checkpoint(self, checkpoint: Struct) -> None:
        """Set the checkpoint; it replaces one that was not sent."""
        with self._lock:
            self._checkpoint = checkpoint
        self._wake()

    def snapshot(self, max_bytes: int = MAX_REPORT_BYTES) -> ReportSnapshot:
        """Return a report of all that is not confirmed, up to `max_bytes` but with at least one artifact."""
        with self._lock:
            report = ProgressReport()
            if self._progress is not None:
                report.CopyFrom(self._progress)
                report.passed_stages.extend(self._stages.passed)
                if report.HasField("stage") and self._stages.since is not None:
                    _set_seconds(report.stage_duration, self._clock() - self._stages.since)
            if self._checkpoint is not None:
                report.checkpoint.CopyFrom(self._checkpoint)
            artifacts, free_bytes = _first(self._artifacts, max_bytes - report.ByteSize(), min_count=1)
            job_artifacts, _ = _first(self._job_artifacts, free_bytes, min_count=0 if artifacts else 1)
            for name, artifact in artifacts.items():
                report.artifacts[name].CopyFrom(artifact)
            for name, artifact in job_artifacts.items():
                report.job_artifacts[name].CopyFrom(artifact)
            is_all = len(artifacts) == len(self._artifacts) and len(job_artifacts) == len(self._job_artifacts)
            passed_stages = len(self._stages.passed)
            return ReportSnapshot(
                report, is_all, self._progress, passed_stages, artifacts, job_artifacts, self._checkpoint
            )

    def confirm(self, sent: ReportSnapshot) -> None:
        """Remove what the service confirmed; later additions remain."""
        with self._lock:
            if self._progress is sent.progress:
                self._progress = None
                self._stages.is_reported = True
            if self._checkpoint is sent.checkpoint:
                self._checkpoint = None
            del self._stages.passed[: sent.passed_stages]
            _remove(self._artifacts, sent.artifacts)
            _remove(self._job_artifacts, sent.job_artifacts)

    def _enter(self, stage: str) -> None:
        now, stages = self._clock(), self._stages
        if not stages.is_reported and stages.since is not None and len(stages.passed) < _MAX_PASSED_STAGES:
            passed = PassedStage(stage=self._stage)
            _set_seconds(passed.duration, now - stages.since)
            stages.passed.append(passed)
        self._stage, stages.since, stages.is_reported = stage, now, False

    def _merge(self, previous: ProgressReport, report: ProgressReport) -> ProgressReport:
        merged = ProgressReport()
        merged.CopyFrom(previous)
        if report.HasField("stage"):
            merged.ClearField("stage_percent")
        if report.HasField("items_completed") or (self._has_plan and report.HasField("stage")):
            merged.ClearField("percent")  # the service computes it from these, which are newer
        merged.MergeFrom(report)
        return merged


def _first(artifacts: Mapping[str, Artifact], free_bytes: int, *, min_count: int) -> tuple[dict[str, Artifact], int]:
    """Return the first artifacts that fit into `free_bytes`, and the bytes that remain."""
    fitting: dict[str, Artifact] = {}
    for name, artifact in artifacts.items():
        remaining = free_bytes - artifact.ByteSize() - len(name.encode()) - _OVERHEAD_BYTES
        if remaining < 0 and len(fitting) >= min_count:
            break
        fitting[name], free_bytes = artifact, remaining
    return fitting, free_bytes


def _set_seconds(duration: Duration, seconds: float) -> None:
    duration.FromTimedelta(min(timedelta(seconds=seconds), _MAX_DURATION))


def _remove(pending: dict[str, Artifact], confirmed: Mapping[str, Artifact]) -> None:
    for name, artifact in confirmed.items():
        if pending.get(name) is artifact:
            del pending[name]
