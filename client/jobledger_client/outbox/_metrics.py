"""The metrics of relays, in the default registry of prometheus-client where that is installed."""

from jobledger_client.outbox._store import Backlog

try:
    from prometheus_client import Counter, Gauge
except ModuleNotFoundError:
    ENABLED = False
else:
    ENABLED = True
    _sent = Counter("jobledger_outbox_sent", "Rows whose jobs this relay has created")
    _refused = Counter("jobledger_outbox_refused", "Rows that the server refused to this relay")
    _rows = Gauge("jobledger_outbox_rows", "Rows of the outbox", ["state"])
    _oldest = Gauge("jobledger_outbox_oldest_seconds", "The age of the oldest row that waits")


def count_sent(rows: int) -> None:
    """Count rows whose jobs exist."""
    if ENABLED:
        _sent.inc(rows)


def count_refused(rows: int) -> None:
    """Count rows that were refused."""
    if ENABLED:
        _refused.inc(rows)


def show(backlog: Backlog) -> None:
    """Show the backlog."""
    if ENABLED:
        _rows.labels("waiting").set(backlog.waiting)
        _rows.labels("refused").set(backlog.refused)
        _oldest.set(backlog.oldest_seconds)
