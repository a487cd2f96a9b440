"""The tables, all of one metadata. What differs between databases is in `dialects`."""

from .access import api_keys, usage
from .figures import counts, limits, limits_removable, rollups, running_totals, slots_free
from .jobs import (
    cancelling,
    chunks,
    delayed,
    expiring,
    job_words,
    jobs,
    leased,
    of_service,
    parked,
    runs,
    search_vector,
    unique_keys,
    waiting,
)
from .ledger import artifact_versions, audit, event_owner, events, ledger, requests, tombstones
from .schema import NEVER, metadata, schema_version
from .webhooks import dead, deliveries, over, pending, scheduled, webhook_checkpoint, webhooks

__all__ = [
    "NEVER",
    "api_keys",
    "artifact_versions",
    "audit",
    "cancelling",
    "chunks",
    "counts",
    "dead",
    "delayed",
    "deliveries",
    "event_owner",
    "events",
    "expiring",
    "job_words",
    "jobs",
    "leased",
    "ledger",
    "limits",
    "limits_removable",
    "metadata",
    "of_service",
    "over",
    "parked",
    "pending",
    "requests",
    "rollups",
    "running_totals",
    "runs",
    "scheduled",
    "schema_version",
    "search_vector",
    "slots_free",
    "tombstones",
    "unique_keys",
    "usage",
    "waiting",
    "webhook_checkpoint",
    "webhooks",
]
