"""A context to call a handler with, without a worker and a server."""

from collections.abc import Callable, Collection, Mapping
from itertools import groupby
from typing import Any

from google.protobuf.struct_pb2 import Struct
from jobledger.v1.chunk_pb2 import Artifact, Chunk
from jobledger.v1.worker_service_pb2 import ClaimedChunk, ProgressReport

from jobledger_client._generated._enums import ChunkState
from jobledger_client._requests import StagesLike, stage_plan
from jobledger_client._structs import plain, struct
from jobledger_client._values import StructLike, number
from jobledger_client._worker._context import ChunkContext
from jobledger_client._worker._pending import PendingReport

DEFAULT_SCHEMES = ("abfs", "abfss", "az", "gs", "http", "https", "minio", "r2", "s3")
"""The URI schemes that a server allows unless its operator says otherwise."""

_MAX_BYTES = 2**31 - 1


class FakeContext(ChunkContext):
    """A context for tests: a handler is called with it, and it records what the handler reports.

    `input`, `labels` and `stages` are those of the job, as for create_job; `chunk_input`, `items`, `is_finalizer` and
    `last_checkpoint` are the chunk's.
    What a worker's context refuses, this one refuses. It sets `cancelled` after `cancel_after` reports of progress or
    artifacts, or when the test calls `cancel`.
    """

    def __init__(
        self,
        *,
        input: StructLike | None = None,  # noqa: A002 - the contract's name for it
        chunk_input: StructLike | None = None,
        items: range = range(0),
        stages: StagesLike = (),
        labels: Mapping[str, str] | None = None,
        kind: str = "test",
        owner: str = "default",
        job_id: str = "test-job",
        chunk_index: int = 0,
        is_finalizer: bool = False,
        attempt: int = 1,
        last_checkpoint: StructLike | None = None,
        artifact_schemes: Collection[str] = DEFAULT_SCHEMES,
        cancel_after: int | None = None,
    ) -> None:
        chunk = Chunk(
            index=chunk_index,
            finalizer=is_finalizer,
            state=number(ChunkState.PROCESSING),
            input=struct(chunk_input, "chunk_input"),
            attempt=attempt,
            first_item=items.start if items else None,
            last_item=items.stop - 1 if items else None,
        )
        claimed = ClaimedChunk(
            job_id=job_id,
            kind=kind,
            owner=owner,
            chunk=chunk,
            job_input=struct(input, "input"),
            stages=stage_plan(stages),
            labels=labels or {},
            artifact_schemes=artifact_schemes,
            checkpoint=struct(last_checkpoint, "last_checkpoint"),
        )
        self._recorder = _Recorder(has_plan=bool(claimed.stages), wake=self._count_report)
        self._reports_left = cancel_after
        super().__init__(claimed, self._recorder)

    @property
    def reports(self) -> list[ProgressReport]:
        """The reports of progress, in order, with the values that each call of `progress` named."""
        return list(self._recorder.reports)

    @property
    def reported_stages(self) -> list[str]:
        """The stages that the handler entered, in order."""
        return [
            stage for stage, _ in groupby(report.stage for report in self._recorder.reports if report.HasField("stage"))
        ]

    @property
    def reported_messages(self) -> list[str]:
        """The messages for people, in order."""
        return [report.message for report in self._recorder.reports if report.HasField("message")]

    @property
    def checkpoints(self) -> list[dict[str, Any]]:
        """The values that the handler passed to `checkpoint`, in order."""
        return [plain(values) for values in self._recorder.checkpoints]

    @property
    def artifacts(self) -> Mapping[str, Artifact]:
        """The chunk's artifacts by name, the last of each."""
        return self._recorder.snapshot(_MAX_BYTES).artifacts

    @property
    def job_artifacts(self) -> Mapping[str, Artifact]:
        """The job's artifacts by name, the last of each."""
        return self._recorder.snapshot(_MAX_BYTES).job_artifacts

    def _count_report(self) -> None:
        if self._reports_left is not None:
            self._reports_left -= 1
            if self._reports_left <= 0:
                self.cancel()


class _Recorder(PendingReport):
    """Reports that are never sent, with each one of progress."""

    def __init__(self, *, has_plan: bool, wake: Callable[[], None]) -> None:
        super().__init__(has_plan=has_plan, wake=wake)
        self.reports: list[ProgressReport] = []
        self.checkpoints: list[Struct] = []

    def add_progress(self, report: ProgressReport) -> None:
        self.reports.append(report)
        super().add_progress(report)

    def set_checkpoint(self, checkpoint: Struct) -> None:
        self.checkpoints.append(checkpoint)
        super().set_checkpoint(checkpoint)
