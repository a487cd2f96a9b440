"""The metrics of webhook deliveries."""

from prometheus_client import Counter


def count_attempts() -> Counter:
    """Return what counts attempts by their outcome, with each outcome shown from the start."""
    attempts = Counter(
        "jobledger_webhook_attempts",
        "Attempts at webhook deliveries: delivered, failed and to be made again, or dead.",
        ("outcome",),
        registry=None,
    )
    for outcome in ("delivered", "failed", "dead"):
        attempts.labels(outcome)
    return attempts
