"""The argument of a handler: its chunk, and the methods to report on it."""

import asyncio
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from functools import cached_property
from typing import Any

from google.protobuf.struct_pb2 import Struct
from jobledger.v1.chunk_pb2 import Artifact, Chunk
from jobledger.v1.worker_service_pb2 import ChunkCompletion, ClaimedChunk, ProgressReport

from jobledger_client._structs import plain, struct
from jobledger_client._values import StructLike, delay
from jobledger_client._worker import _artifact_rules as rules
from jobledger_client._worker._pending import PendingReport

_MESSAGE_LENGTH = 1_024


class StopReason(Enum):
    """Why an attempt must stop, in words for the audit trail."""

    CANCEL_REQUESTED = "the job is cancelled"
    DRAINING = "the worker shuts down"
    LEASE_LOST = "the lease is lost"
    REFUSED = "the service refused a report"
    TIMED_OUT = "the work took too long"


@dataclass(frozen=True, slots=True)
class Postponement:
    """How a handler wants its chunk to be released: for how long, and why."""

    after: timedelta
    reason: str


class ChunkContext:
    """One attempt at one chunk. Any thread may call its methods; they return at once.

    The next heartbeat carries the reports, the latest of each value, at most about twice a second. In a process that
    the handler forked, methods that report raise RuntimeError.
    """

    def __init__(self, claimed: ClaimedChunk, pending: PendingReport) -> None:
        self._claimed = claimed
        self._pending = pending
        self._cancelled = threading.Event()
        self._stop: tuple[StopReason, str] | None = None
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._process = os.getpid()
        self._adding_artifacts = threading.Lock()
        self._artifact_sizes = {name: rules.artifact_bytes(name, one) for name, one in claimed.chunk.artifacts.items()}
        self._job_artifact_sizes: dict[str, int] = {}
        self._result_uri = ""
        self._outputs: dict[str, Struct] = {}
        self._postponed: Postponement | None = None

    @property
    def chunk(self) -> Chunk:
        """The chunk as it was claimed."""
        return self._claimed.chunk

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self._claimed.job_id

    @property
    def owner(self) -> str:
        """The tenant whose job it is: a worker may serve several."""
        return self._claimed.owner

    @property
    def kind(self) -> str:
        """The job's kind."""
        return self._claimed.kind

    @property
    def labels(self) -> Mapping[str, str]:
        """The job's labels."""
        return self._claimed.labels

    @cached_property
    def input(self) -> dict[str, Any]:
        """The job's input; empty when it has none."""
        return plain(self._claimed.job_input)

    @cached_property
    def chunk_input(self) -> dict[str, Any]:
        """The chunk's own input; empty when it has none."""
        return plain(self._claimed.chunk.input)

    @cached_property
    def last_checkpoint(self) -> dict[str, Any] | None:
        """What an earlier attempt at the chunk passed to `checkpoint` last; None when none did."""
        return plain(self._claimed.checkpoint) if self._claimed.HasField("checkpoint") else None

    @property
    def items(self) -> range:
        """The numbers of the chunk's items, from 0 for the job's first; empty for a job without items."""
        chunk = self._claimed.chunk
        return range(chunk.first_item, chunk.last_item + 1) if chunk.HasField("first_item") else range(0)

    @property
    def is_finalizer(self) -> bool:
        """Whether the chunk is the job's finalizer: all its other chunks are completed."""
        return self._claimed.chunk.finalizer

    @property
    def stage(self) -> str:
        """The stage that this attempt reported last; empty before the first."""
        return self._pending.stage

    @property
    def result_uri(self) -> str:
        """The URI last passed to `result`; empty before."""
        return self._result_uri

    @property
    def output(self) -> dict[str, Any] | None:
        """The chunk's result itself, at most 64 KiB encoded; None before it is set. The completion has it.

        Set it to a dict with string keys and JSON values; raises ValueError for a dict that the service would refuse.
        """
        return self._declared("output")

    @output.setter
    def output(self, values: StructLike) -> None:
        self._declare("output", values)

    @property
    def job_output(self) -> dict[str, Any] | None:
        """The job's result itself, as `output`: visible once the job is COMPLETED; of several the last counts."""
        return self._declared("job_output")

    @job_output.setter
    def job_output(self, values: StructLike) -> None:
        self._declare("job_output", values)

    def completion(self, last: ProgressReport) -> ChunkCompletion:
        """Return the chunk's completion with its last report. The worker calls this."""
        return ChunkCompletion(
            lease_token=self._claimed.lease.token,
            progress=last,
            result_uri=self._result_uri,
            output=self._outputs.get("output"),
            job_output=self._outputs.get("job_output"),
        )

    def _declare(self, name: str, values: StructLike) -> None:
        message = struct(values, name) or Struct()
        rules.check_struct(name, message, rules.MAX_OUTPUT_BYTES)
        self._check_process()
        self._outputs[name] = message

    def _declared(self, name: str) -> dict[str, Any] | None:
        return plain(self._outputs[name]) if name in self._outputs else None

    @property
    def cancelled(self) -> bool:
        """True when the work must stop: the job is cancelled, the lease is lost or expired, or the worker shuts down.

        A lease expires when the service is unreachable for its duration, and at the end of the job's attempt_timeout:
        another worker may then have the chunk. `stop_reason` says what it was.

        What a handler returns or raises after this is not reported: the chunk is released.
        """
        return self._cancelled.is_set()

    @property
    def stop_reason(self) -> StopReason | None:
        """The first reason for which the work must stop; None before `cancelled`.

        TIMED_OUT is the end of the job's attempt_timeout, or of the handler's timeout.
        """
        return self._stop[0] if self._stop else None

    @property
    def stop_message(self) -> str:
        """Why the work must stop, for people; empty before `cancelled`.

        Of a cancelled job it ends with the caller's reason: "the job is cancelled: wrong file".
        """
        return (self._stop[1] or self._stop[0].value) if self._stop else ""

    def wait_cancelled(self, timeout: timedelta | None = None) -> bool:
        """Block until `cancelled`, or for `timeout`; return `cancelled`. It replaces time.sleep in plain handlers."""
        return self._cancelled.wait(None if timeout is None else timeout.total_seconds())

    async def until_cancelled(self) -> None:
        """Return once `cancelled`. Asynchronous handlers use it; they are also cancelled a grace period later."""
        event = asyncio.Event()
        waiter = (asyncio.get_running_loop(), event)
        self._waiters.append(waiter)
        try:
            if not self._cancelled.is_set():  # `cancel` sets this first, and reads the waiters afterwards
                await event.wait()
        finally:
            self._waiters.remove(waiter)

    def progress(
        self,
        *,
        percent: float | None = None,
        stage: str | None = None,
        stage_percent: float | None = None,
        message: str | None = None,
        items_completed: int | None = None,
    ) -> None:
        """Report progress; None leaves a value unchanged.

        `percent` and `stage_percent` are 0 to 100; without `percent` the service computes it from the stage and the
        job's plan, or from `items_completed`. A `message` is cut to 1,024 characters. Raises ValueError for a value
        outside its range, for a stage that is not in the job's plan, and for a text with a NUL character.
        """
        self._check_percent("percent", percent)
        self._check_percent("stage_percent", stage_percent)
        self._check_stage(stage)
        self._check_items(items_completed)
        self._check_process()
        if message is not None:
            message = message[:_MESSAGE_LENGTH]
            rules.check_text("message", message, _MESSAGE_LENGTH)
        report = ProgressReport(
            percent=percent,
            stage=stage,
            stage_percent=stage_percent,
            message=message,
            items_completed=items_completed,
        )
        self._pending.add_progress(report)

    def checkpoint(self, values: StructLike) -> None:
        """Keep values for the next attempt at the chunk, its `last_checkpoint`; an empty dict removes them.

        The next heartbeat, or the end of the attempt, sends them; later values replace them. They are kept until the
        chunk is completed. Raises ValueError for what the service would refuse: more than 4 KiB encoded, and values
        that JSON cannot hold without loss.
        """
        message = struct(values, "checkpoint") or Struct()
        rules.check_struct("checkpoint", message, rules.MAX_CHECKPOINT_BYTES)
        self._check_process()
        self._pending.set_checkpoint(message)

    def artifact(
        self,
        name: str,
        *,
        uri: str,
        content_type: str = "",
        size_bytes: int | None = None,
        metadata: StructLike | None = None,
        job: bool = False,
    ) -> None:
        """Report an output or preview of the chunk, or with `job` of the job; it replaces one with the same name.

        Raises ValueError for what the service would refuse: a name of more than 128 characters, a `uri` with a scheme
        that the operator does not allow or of more than 2,048 characters, a `content_type` of more than 255, `metadata`
        of more than 4 KiB encoded or that JSON cannot hold without loss, and more than 50 artifacts or 256 KiB for the
        chunk, or 100 and 512 KiB for the job.
        """
        artifact = Artifact(
            uri=uri, content_type=content_type, size_bytes=size_bytes, metadata=struct(metadata, "metadata")
        )
        rules.check_artifact(name, artifact, self._claimed.artifact_schemes)
        self._check_process()
        with self._adding_artifacts:
            self._check_artifact_limits(name, artifact, job=job)
            self._pending.add_artifact(name, artifact, job=job)

    def result(self, uri: str) -> None:
        """Set the URI of the job's result. It is visible once the job is COMPLETED; the last one counts.

        Raises ValueError for a `uri` that the service would refuse, as `artifact` does.
        """
        rules.check_uri(uri, self._claimed.artifact_schemes)
        self._check_process()
        self._result_uri = uri

    def release(self, *, after: timedelta = timedelta(0), reason: str = "") -> None:
        """Release the chunk, instead of completing it, when the handler returns; the attempt does not count.

        It may be claimed again `after`, 0 s to 7 days; 0 s means at once. `reason`, at most 1,024 characters, is for
        the audit trail. An exception of the handler fails the attempt nevertheless. Raises ValueError.
        """
        rules.check_text("reason", reason, _MESSAGE_LENGTH)
        self._check_process()
        self._postponed = Postponement(delay(after), reason or "the handler released it")

    @property
    def postponed(self) -> Postponement | None:
        """What was last passed to `release`; None before."""
        return self._postponed

    def cancel(self, reason: StopReason = StopReason.CANCEL_REQUESTED, message: str = "") -> None:
        """Set `cancelled`. The worker calls this; tests of handlers may, too."""
        self._stop = self._stop or (reason, message)
        self._cancelled.set()
        for loop, event in tuple(self._waiters):
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def _check_process(self) -> None:
        """Raise RuntimeError in a process that was forked from the worker's, where a report would be lost silently."""
        if self._process != os.getpid():
            raise RuntimeError("a process that the handler forked cannot report: return the values to the handler")

    def _check_percent(self, name: str, value: float | None) -> None:
        if value is not None and not 0 <= value <= 100:  # noqa: PLR2004 - what percent means
            raise ValueError(f"{name} must be within 0 to 100; got {value}")

    def _check_stage(self, stage: str | None) -> None:
        if stage is None:
            return
        rules.check_text("stage", stage, rules.MAX_STAGE_LENGTH, min_length=1)
        plan = [declared.name for declared in self._claimed.stages]
        if plan and stage not in plan:
            raise ValueError(f"stage must be one of {', '.join(plan)}, the job's plan; got {stage!r}")

    def _check_artifact_limits(self, name: str, artifact: Artifact, *, job: bool) -> None:
        sizes = self._job_artifact_sizes if job else self._artifact_sizes
        owner = "job" if job else "chunk"
        max_artifacts = rules.MAX_JOB_ARTIFACTS if job else rules.MAX_CHUNK_ARTIFACTS
        if name not in sizes and len(sizes) >= max_artifacts:
            raise ValueError(f"a {owner} must have at most {max_artifacts} artifacts; {name!r} is one more")
        size = rules.artifact_bytes(name, artifact)
        total = sum(sizes.values()) - sizes.get(name, 0) + size
        max_bytes = rules.MAX_JOB_ARTIFACT_BYTES if job else rules.MAX_CHUNK_ARTIFACT_BYTES
        if total > max_bytes:
            raise ValueError(
                f"the artifacts of a {owner} must have at most {max_bytes:,} bytes; with {name!r} they have {total:,}"
            )
        sizes[name] = size

    def _check_items(self, items_completed: int | None) -> None:
        if items_completed is not None and not 0 <= items_completed <= len(self.items):
            raise ValueError(f"items_completed must be within 0 to {len(self.items)}; got {items_completed}")
