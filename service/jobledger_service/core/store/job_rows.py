"""Rows of jobs to jobs and their statuses, and back."""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import json
from sqlalchemy import and_, func

from jobledger_service.core.ledger.entry import JOB_ITSELF
from jobledger_service.core.ledger.read_ports import JobStatus
from jobledger_service.core.model.job import Counts, FailurePolicy, Job, JobProgress, JobSpec
from jobledger_service.core.model.rate import Rate
from jobledger_service.core.model.states import JobState

from .cells import (
    Row,
    artifacts_of,
    error_of,
    error_text,
    json_text,
    labels_of,
    policy_of,
    policy_text,
    stages_of,
    stages_text,
    timings_of,
    timings_text,
)
from .tables import artifact_versions, jobs

JOB_COLUMNS: Final = [column for column in jobs.c if column.name not in ("input", "job_key")]
WHOLE_COLUMNS: Final = [*JOB_COLUMNS, artifact_versions.c.content]
"""The columns of a job and its artifacts, which WHOLE_JOBS joins."""
WHOLE_JOBS: Final = jobs.outerjoin(
    artifact_versions,
    and_(
        artifact_versions.c.job_key == jobs.c.job_key,
        artifact_versions.c.incarnation == func.coalesce(jobs.c.import_time, jobs.c.create_time),
        artifact_versions.c.chunk_index == JOB_ITSELF,
        artifact_versions.c.revision == jobs.c.artifacts_revision,
    ),
)

_STATUS: Final = (
    "job_key job_id kind display_name state revision update_time percent stage stage_percent"
    " work_total work_done rate_since rate_at rate_items rate_work"
)
STATUS_COLUMNS: Final = [jobs.c[name] for name in _STATUS.split()]


def whole_job_of(row: Sequence[Any]) -> Job:
    """Return the job of a row of WHOLE_COLUMNS."""
    return job_of(row[:-1], row[-1])


def job_of(row: Sequence[Any], artifacts: str | None) -> Job:
    """Return the job of a row of JOB_COLUMNS and the content of its artifacts; raises ValueError without these."""
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
        artifacts_revision,
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
        import_time,
    ) = row
    if artifacts is None and artifacts_revision is not None:
        raise ValueError("the job's artifacts are missing")
    rate = None if rate_since is None else Rate(rate_since, rate_at, rate_items, rate_work)
    return Job(
        spec=JobSpec(
            owner,
            job_id,
            kind,
            fingerprint,
            create_time,
            policy_of(retry_policy),
            FailurePolicy(failure_policy),
            stages_of(stages),
            traceparent or "",
            import_time,
        ),
        progress=JobProgress(
            work_total, work_done, items_total, items_completed, percent, stage, stage_percent, message, rate
        ),
        counts=Counts(pending, processing, completed, failed, cancelled),
        update_time=update_time,
        display_name=display_name,
        priority=priority,
        labels=labels_of(labels),
        state=JobState(state),
        revision=revision,
        retry_count=retry_count,
        stage_timings=timings_of(stage_timings),
        artifacts=artifacts_of(artifacts),
        artifacts_revision=artifacts_revision,
        declared_result=declared_result,
        first_failure=error_of(first_failure),
        cancel_reason=cancel_reason,
        cancel_deadline=cancel_deadline,
        start_time=start_time,
        end_time=end_time,
        expire_time=expire_time,
        expires_by_rule=expires_by_rule,
        retry_time=retry_time,
        slots=tuple(json.decode(slots)) if slots else (),
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
        "labels": json_text(dict(job.labels)) if job.labels else None,
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
        "stage_timings": timings_text(job.stage_timings),
        "artifacts_revision": job.artifacts_revision,
        "declared_result": job.declared_result,
        "first_failure": error_text(job.first_failure),
        "cancel_reason": job.cancel_reason,
        "cancel_deadline": job.cancel_deadline,
        "start_time": job.start_time,
        "update_time": job.update_time,
        "end_time": job.end_time,
        "expire_time": job.expire_time,
        "expires_by_rule": job.expires_by_rule,
        "retry_time": job.retry_time,
        "slots": json_text(job.slots) if job.slots else None,
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
        "retry_policy": policy_text(spec.retry_policy),
        "failure_policy": spec.failure_policy.value,
        "stages": stages_text(spec.stages),
        "traceparent": spec.traceparent or None,
        "import_time": spec.import_time,
        "input": input_,
        "work_total": job.progress.work_total,
        "items_total": job.progress.items_total,
    }
    return row
