"""The text of states, times and numbers."""

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1.job_pb2 import Job
from jobledger.v1.webhook_pb2 import WebhookAttempt
from rich.text import Text

from jobledger_client._contract_enum import ContractEnum
from jobledger_client._generated._enums import WebhookEventType

_COLOURS = {
    "QUEUED": "cyan",
    "PENDING": "cyan",
    "RUNNING": "blue",
    "PROCESSING": "blue",
    "CANCELLING": "yellow",
    "COMPLETED": "green",
    "FAILED": "red",
    "CANCELLED": "yellow",
    "ACTIVE": "green",
    "PAUSED": "red",
    "DISABLED": "yellow",
    "DELIVERED": "green",
    "DEAD": "red",
}
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_KIBI = 1_024
_MAX_SECONDS = 1e12
"""More than the years 1 to 9999 have."""


def event_type(number: int) -> str:
    """Return the type in the form of a delivery's body: job.completed."""
    return WebhookEventType(number).name.lower().replace("_", ".")


def attempt(delivery_attempt: WebhookAttempt) -> str:
    """Return the outcome and the duration of an attempt."""
    outcome = delivery_attempt.error or f"answered {delivery_attempt.status_code}"
    return f"{outcome} ({delivery_attempt.duration.ToMilliseconds():,} ms)"


def coloured(state: ContractEnum) -> Text:
    """Return the name of a state in its colour."""
    return Text(state.name, style=_COLOURS.get(state.name, ""))


def literal(text: str) -> Text:
    """Return external text without markup and control characters."""
    return Text("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text))


def one_line(text: str, style: str = "") -> Text:
    """Return external text for a column that may shrink, cut to its width."""
    line = literal(text)
    line.style, line.no_wrap, line.overflow = style, True, "ellipsis"
    return line


def percent(value: float) -> str:
    """Return a percentage with one decimal."""
    return f"{value:.1f} %"


def local_time(time: Timestamp) -> str:
    """Return a time to the second with its zone, that of this machine; a phrase for one outside the calendar."""
    try:
        return f"{_local(time):%Y-%m-%d %H:%M:%S %Z}"
    except (ValueError, OverflowError):
        return "after the year 9999" if time.seconds > 0 else "before the year 1"


def _local(time: Timestamp) -> datetime:
    known = time.ToDatetime(tzinfo=UTC)
    try:
        return known.astimezone()
    except OverflowError:  # the last hours of the year 9999, east of Greenwich
        return known


def age(time: Timestamp) -> str:
    """Return how long ago a time was."""
    return two_units(timedelta(seconds=-_seconds_ahead(time)))


def eta(time: Timestamp, *, clock: bool = True) -> str:
    """Return an estimated end, relative and as a time of day: in 3 min (14:02 UTC)."""
    ahead = _seconds_ahead(time)
    if ahead <= 0:
        return "any moment"
    day = "" if ahead < _DAY else "%Y-%m-%d "
    at = f" ({_local(time):{day}%H:%M %Z})" if clock else ""
    return f"in {spoken(ahead)}{at}"


def spoken(seconds: float) -> str:
    """Return a duration for a sentence: 7 s, 3 min, 2 h 5 min, 4 d 2 h."""
    whole = max(0, round(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    large, small, names = (_HOUR, _MINUTE, ("h", "min")) if whole < _DAY else (_DAY, _HOUR, ("d", "h"))
    rest = whole % large // small
    return f"{whole // large} {names[0]}" + (f" {rest} {names[1]}" if rest else "")


def _seconds_ahead(time: Timestamp) -> float:
    ahead = time.seconds + time.nanos / 1e9 - datetime.now(UTC).timestamp()
    return max(-_MAX_SECONDS, min(ahead, _MAX_SECONDS))


def two_units(time: timedelta) -> str:
    """Return a duration in its largest two units."""
    seconds = max(0, round(time.total_seconds()))
    if seconds < _MINUTE:
        return f"{seconds}s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE}m{seconds % _MINUTE:02}s"
    if seconds < _DAY:
        return f"{seconds // _HOUR}h{seconds % _HOUR // _MINUTE:02}m"
    return f"{seconds // _DAY}d{seconds % _DAY // _HOUR:02}h"


def duration(seconds: float) -> str:
    """Return a measured duration: milliseconds below a second, tenths below a minute."""
    if seconds < 1:
        return f"{seconds * 1_000:.0f}ms"
    return f"{seconds:.1f}s" if seconds < _MINUTE else two_units(timedelta(seconds=min(seconds, _MAX_SECONDS)))


def rate(value: float) -> str:
    """Return a rate, with one decimal below 100."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"  # noqa: PLR2004  three digits are enough


def size(count: int) -> str:
    """Return a number of bytes in a unit that fits."""
    value, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while value >= _KIBI and len(units) > 1:
        value /= _KIBI
        units.pop(0)
    return f"{value:,.0f} {units[0]}" if units[0] == "B" else f"{value:,.1f} {units[0]}"


def counts(job: Job) -> str:
    """Return the number of chunks in each state that occurs."""
    summary = job.chunks_summary
    names = ("completed", "processing", "pending", "failed", "cancelled")
    parts = [f"{getattr(summary, name):,} {name}" for name in names if getattr(summary, name)]
    return f"{summary.total:,} chunk{'' if summary.total == 1 else 's'}: {', '.join(parts)}"


def items(job: Job) -> str:
    """Return how many items are completed; empty for a job without items."""
    progress = job.progress
    return f"{progress.items_completed:,} of {progress.items_total:,} items" if progress.items_total else ""
