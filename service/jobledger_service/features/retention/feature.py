"""The retention of jobs in the settings."""

from jobledger_service.core.model.limits import SECOND
from jobledger_service.core.model.retention import Retention
from jobledger_service.settings import Settings


def retention_of(settings: Settings) -> Retention:
    """Return the retention of ended jobs."""
    kept = (settings.completed_retention, settings.failed_retention, settings.cancelled_retention)
    return Retention(*(None if seconds is None else round(seconds * SECOND) for seconds in kept))
