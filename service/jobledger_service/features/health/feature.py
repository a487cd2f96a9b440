"""The health of the server, as the settings want it."""

from jobledger_service.settings import Settings

from .rules import Thresholds


def thresholds_of(settings: Settings) -> Thresholds:
    """Return where the server is no longer healthy."""
    return Thresholds(
        settings.health_database_latency,
        settings.health_commit_stall,
        settings.health_queue_share,
        settings.health_feed_lag,
        settings.health_disk_free,
    )
