"""What the studio's console asks: figures, files, usage and health."""

import shutil
from dataclasses import dataclass
from typing import TypedDict

from jobledger.v1.job_pb2 import Job
from jobledger_client import ExportFormat, JobClient, SystemStatus, UsageDimension

from .studio import Studio
from .submit import KIND

COLUMNS = ["display_name", "state", "priority", "processing_seconds", "items_total", "result_uri", "error_code"]
BOUND = 60.0


@dataclass(frozen=True)
class Figures:
    """Statistics of the last day. `efficiency` is seconds of media for each second of processing."""

    by_state: dict[str, int]
    success_rate: float
    processing_hours: float
    average_seconds: float
    efficiency: float


def figures(client: JobClient) -> Figures:
    """Return the statistics. The items of a job are seconds of media, so that the service has counted those."""
    stats = client.statistics.get_job_stats(kinds=[KIND]).total
    done, took = stats.activity, stats.activity.processing
    counts = ("queued", "running", "cancelling", "completed", "failed", "cancelled")
    return Figures(
        by_state={state: getattr(stats.now, state) for state in counts},
        success_rate=done.success_rate,
        processing_hours=took.total_seconds / 3600,
        average_seconds=took.mean_seconds,
        efficiency=done.items_completed / took.total_seconds if took.total_seconds else 0.0,
    )


def export(client: JobClient, form: ExportFormat) -> bytes:
    """Return all jobs as a file."""
    return b"".join(client.exports.export_jobs(form, columns=COLUMNS, label_columns=["album"], kinds=[KIND]))


def usage(operator: JobClient, key_id: str) -> dict[str, int]:
    """Return how often a key was used, by method. What was called in the last moments is not in it yet."""
    sums = operator.admin.get_usage(key_id=key_id, group_by=[UsageDimension.METHOD])
    return {method_usage.method.rpartition(".")[2]: method_usage.calls for method_usage in sums}


def delete(client: JobClient, job_id: str) -> Job:
    """Delete a job with its files; return the job that deletes them."""
    return client.delete_job(job_id, delete_artifacts=True, reason="the studio is done with it").artifact_job


class Health(TypedDict):
    """The status of everything on which a job depends."""

    jobledger: str
    database_latency_ms: float
    disk_free_bytes: int
    commits_queued: int
    webhooks_pending: int
    workers: int
    runs: int
    bucket_free_bytes: int


def health(studio: Studio) -> Health:
    """Ask Jobledger, the engine and the bucket."""
    system_health = studio.operator.admin.get_system_health()
    return Health(
        jobledger=SystemStatus(system_health.status).name,
        database_latency_ms=system_health.database.latency.ToMicroseconds() / 1000,
        disk_free_bytes=system_health.database.disk_free_bytes,
        commits_queued=system_health.committer.queued,
        webhooks_pending=system_health.webhooks.pending,
        workers=system_health.active_workers,
        runs=len(studio.airflow.running()),
        bucket_free_bytes=shutil.disk_usage(studio.files.folder).free,
    )
