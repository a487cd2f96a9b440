"""Rows to values of the domain, and back."""

import base64
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from jobledger_service.domain.chunk import (
    NO_ARTIFACTS,
    NO_PROGRESS,
    Artifact,
    Artifacts,
    Chunk,
    ChunkProgress,
    LeaseEnd,
    WorkError,
)
from jobledger_service.domain.job import (
    NO_LABELS,
    Counts,
    FailurePolicy,
    Job,
    JobProgress,
    JobSpec,
    Stage,
    StageTiming,
)
from jobledger_service.domain.rate import Rate
from jobledger_service.domain.retry import RetryPolicy
from jobledger_service.domain.run import Run
from jobledger_service.domain.slots import Limit
from jobledger_service.domain.states import ChunkState, JobState
from jobledger_service.ledger.read_ports import JobStatus

from .tables import chunks, jobs, limits

JOB_COLUMNS: Final = [column for column in jobs.c if column.name not in ("input", "job_key")]
CHUNK_COLUMNS: Final = [
    column for column in chunks.c if column.name not in ("input", "owner", "kind", "priority", "parked")
]

LIMIT_COLUMNS: Final = [column for column in limits.c if column.name != "limit_key"]

_STATUS: Final = (
    "job_key job_id kind display_name state revision update_time percent stage stage_percent"
    " work_total work_done rate_since rate_at rate_items rate_work"
)
STATUS_COLUMNS: Final = [jobs.c[name] for name in _STATUS.split()]

Row = dict[str, Any]


def _dump(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


@lru_cache(maxsize=1_024)
def _policy(text: str) -> RetryPolicy:
    return RetryPolicy(*json.loads(text))


@lru_cache(maxsize=1_024)
def _policy_text(policy: RetryPolicy) -> str:
    return _dump([policy.max_attempts, policy.initial_backoff, policy.multiplier, policy.max_backoff, policy.jitter])


@lru_cache(maxsize=1_024)
def _stages(text: str | None) -> tuple[Stage, ...]:
    return tuple(Stage(name, weight) for name, weight in json.loads(text)) if text else ()


def _stages_text(stages: Sequence[Stage]) -> str | None:
    return _dump([[stage.name, stage.weight] for stage in stages]) if stages else None


def _timings(text: str | None) -> tuple[StageTiming, ...]:
    return tuple(StageTiming(*values) for values in json.loads(text)) if text else ()


def _timings_text(timings: Sequence[StageTiming]) -> str | None:
    return _dump([[t.stage, t.duration, t.start_time, t.end_time] for t in timings]) if timings else None


def _error(text: str | None) -> WorkError | None:
    return WorkError(*json.loads(text)) if text else None


def _error_text(error: WorkError | None) -> str | None:
    return _dump([error.code, error.message, error.stage, error.chunk_index]) if error else None


def _artifacts(text: str | None) -> Artifacts:
    if not text:
        return NO_ARTIFACTS
    return {
        name: Artifact(uri, content_type, size, None if raw is None else base64.b64decode(raw), create_time)
        for name, (uri, content_type, size, raw, create_time) in json.loads(text).items()
    }


def _artifacts_text(artifacts: Artifacts) -> str | None:
    if not artifacts:
        return None
    return _dump({name: _artifact_values(artifact) for name, artifact in artifacts.items()})


def _artifact_values(artifact: Artifact) -> list[object]:
    metadata = None if artifact.metadata is None else base64.b64encode(artifact.metadata).decode()
    return [artifact.uri, artifact.content_type, artifact.size_bytes, metadata, artifact.create_time]


def job_of(row: Sequence[Any]) -> Job:
    """Return the job of a row of JOB_COLUMNS."""
    (
        owner,
        job_id,
        kind,
        create_time,
        fingerprint,
        retry_policy,
        failure_policy,
        stages,
        display_name,
        priority,
        labels,
        state,
        revision,
        retry_count,
        pending,
        processing,
        completed,
        failed,
        cancelled,
        work_total,
        work_done,
        items_total,
        items_completed,
        percent,
        stage,
        stage_percent,
        message,
        rate_since,
        rate_at,
        rate_items,
        rate_work,
        stage_timings,
        artifacts,
        declared_result,
        first_failure,
        cancel_reason,
        cancel_deadline,
        start_time,
        update_time,
        end_time,
        expire_time,
        expires_by_rule,
        retry_time,
        slots,
        parked_for,
        traceparent,
    ) = row
    rate = None if rate_since is None else Rate(rate_since, rate_at, rate_items, rate_work)
    return Job(
        spec=JobSpec(
            owner,
            job_id,
            kind,
            fingerprint,
            create_time,
            _policy(retry_policy),
            FailurePolicy(failure_policy),
            _stages(stages),
            traceparent or "",
        ),
        progress=JobProgress(
            work_total, work_done, items_total, items_completed, percent, stage, stage_percent, message, rate
        ),
        counts=Counts(pending, processing, completed, failed, cancelled),
        update_time=update_time,
        display_name=display_name,
        priority=priority,
        labels=labels or NO_LABELS,
        state=JobState(state),
        revision=revision,
        retry_count=retry_count,
        stage_timings=_timings(stage_timings),
        artifacts=_artifacts(artifacts),
        declared_result=declared_result,
        first_failure=_error(first_failure),
        cancel_reason=cancel_reason,
        cancel_deadline=cancel_deadline,
        start_time=start_time,
        end_time=end_time,
        expire_time=expire_time,
        expires_by_rule=expires_by_rule,
        retry_time=retry_time,
        slots=tuple(json.loads(slots)) if slots else (),
        parked_for=parked_for or "",
    )


def status_of(row: Sequence[Any]) -> JobStatus:
    """Return the status of a row of STATUS_COLUMNS."""
    *shown, total, done, since, at, items, work = row
    eta = None
    if since is not None and shown[_STATE] == JobState.RUNNING:
        eta = Rate(since, at, items, work).end_of(total - done)
    return JobStatus._make((*shown, eta))


_STATE: Final = 4


def job_row(job: Job) -> Row:
    """Return the columns of a job that change after its creation, and its key."""
    progress, counts, rate = job.progress, job.counts, job.progress.rate
    return {
        "job_key": job.key,
        "display_name": job.display_name,
        "priority": job.priority,
        "labels": _dump(dict(job.labels)) if job.labels else None,
        "state": job.state.value,
        "revision": job.revision,
        "retry_count": job.retry_count,
        "chunks_pending": counts.pending,
        "chunks_processing": counts.processing,
        "chunks_completed": counts.completed,
        "chunks_failed": counts.failed,
        "chunks_cancelled": counts.cancelled,
        "work_done": progress.work_done,
        "items_completed": progress.items_completed,
        "percent": progress.percent,
        "stage": progress.stage,
        "stage_percent": progress.stage_percent,
        "message": progress.message,
        "rate_since": rate and rate.since,
        "rate_at": rate and rate.at,
        "rate_items": rate and rate.items,
        "rate_work": rate and rate.work,
        "stage_timings": _timings_text(job.stage_timings),
        "artifacts": _artifacts_text(job.artifacts),
        "declared_result": job.declared_result,
        "first_failure": _error_text(job.first_failure),
        "cancel_reason": job.cancel_reason,
        "cancel_deadline": job.cancel_deadline,
        "start_time": job.start_time,
        "update_time": job.update_time,
        "end_time": job.end_time,
        "expire_time": job.expire_time,
        "expires_by_rule": job.expires_by_rule,
        "retry_time": job.retry_time,
        "slots": _dump(job.slots) if job.slots else None,
        "parked_for": job.parked_for or None,
    }


def new_job_row(job: Job, input_: bytes | None) -> Row:
    """Return all columns of a job."""
    row = job_row(job)
    spec = job.spec
    row |= {
        "owner": spec.owner,
        "job_id": spec.job_id,
        "kind": spec.kind,
        "create_time": spec.create_time,
        "fingerprint": spec.fingerprint,
        "retry_policy": _policy_text(spec.retry_policy),
        "failure_policy": spec.failure_policy.value,
        "stages": _stages_text(spec.stages),
        "traceparent": spec.traceparent or None,
        "input": input_,
        "work_total": job.progress.work_total,
        "items_total": job.progress.items_total,
    }
    return row


def chunk_of(row: Sequence[Any]) -> Chunk:
    """Return the chunk of a row of CHUNK_COLUMNS."""
    (
        job_key,
        index,
        create_time,
        first_item,
        last_item,
        state,
        attempt,
        max_attempts,
        fence,
        lease_end,
        task_id,
        worker,
        done,
        stage,
        stage_percent,
        message,
        items_completed,
        stage_time,
        artifacts,
        error,
        start_time,
        end_time,
        lease_expire_time,
        not_before,
    ) = row
    progress = ChunkProgress(done, stage, stage_percent, message, items_completed)
    return Chunk(
        job_key=job_key,
        index=index,
        create_time=create_time,
        max_attempts=max_attempts,
        first_item=first_item,
        last_item=last_item,
        state=ChunkState(state),
        attempt=attempt,
        fence=fence,
        lease_end=None if lease_end is None else LeaseEnd(lease_end),
        task_id=task_id,
        worker=worker,
        progress=NO_PROGRESS if progress == NO_PROGRESS else progress,
        stage_time=stage_time,
        artifacts=_artifacts(artifacts),
        error=_error(error),
        start_time=start_time,
        end_time=end_time,
        lease_expire_time=lease_expire_time,
        not_before=not_before,
    )


def chunk_row(job: Job, chunk: Chunk) -> Row:
    """Return the columns of a chunk that change after its creation, and its key."""
    progress = chunk.progress
    return {
        "job_key": chunk.job_key,
        "chunk_index": chunk.index,
        "priority": job.priority,
        "state": chunk.state.value,
        "attempt": chunk.attempt,
        "max_attempts": chunk.max_attempts,
        "fence": chunk.fence,
        "lease_end": chunk.lease_end and chunk.lease_end.value,
        "task_id": chunk.task_id,
        "worker": chunk.worker,
        "done": progress.done,
        "stage": progress.stage,
        "stage_percent": progress.stage_percent,
        "message": progress.message,
        "items_completed": progress.items_completed,
        "stage_time": chunk.stage_time,
        "artifacts": _artifacts_text(chunk.artifacts),
        "error": _error_text(chunk.error),
        "start_time": chunk.start_time,
        "end_time": chunk.end_time,
        "lease_expire_time": chunk.lease_expire_time,
        "not_before": chunk.not_before,
        "parked": int(bool(job.parked_for)),
    }


def new_chunk_row(job: Job, chunk: Chunk, input_: bytes | None) -> Row:
    """Return all columns of a chunk."""
    row = chunk_row(job, chunk)
    row |= {
        "owner": job.spec.owner,
        "kind": job.spec.kind,
        "create_time": chunk.create_time,
        "input": input_,
        "first_item": chunk.first_item,
        "last_item": chunk.last_item,
    }
    return row


def limit_of(row: Sequence[Any]) -> Limit:
    """Return the limit of a row of LIMIT_COLUMNS."""
    return Limit(*row)


def limit_row(limit: Limit) -> Row:
    """Return all columns of a new limit; what it holds is counted after."""
    return {
        "limit_key": limit.key,
        "owner": limit.owner,
        "scope": limit.scope,
        "most": limit.most,
        "running": 0,
        "waiting": 0,
        "by_job": limit.by_job,
        "set_time": limit.set_time,
    }


def run_of(row: Sequence[Any]) -> Run:
    """Return the run of the columns cursors, counts and told."""
    cursors, counts, told = map(json.loads, row)
    return Run({int(index): tuple(cursor) for index, cursor in cursors.items()}, counts, tuple(told))


def run_row(job_key: str, run: Run) -> Row:
    """Return the columns of a run."""
    return {
        "job_key": job_key,
        "cursors": _dump(dict(run.cursors)),
        "counts": _dump(dict(run.counts)),
        "told": _dump([dict(one) for one in run.told]),
    }
