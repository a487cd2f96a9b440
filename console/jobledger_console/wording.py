"""The words for errors, times and numbers: those of the command line."""

from datetime import UTC, datetime
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from jobledger_client import JobledgerError
from jobledger_client.cli._error_output import _sentence
from jobledger_client.cli._format import duration, local_time, percent, rate, size, spoken

__all__ = [
    "clock",
    "count",
    "duration",
    "local_time",
    "milliseconds",
    "percent",
    "plural",
    "rate",
    "seconds",
    "sentence_of",
    "size",
    "spoken",
]

_MAX_MILLISECONDS: Final = 8.64e15
"""The last time that a browser knows."""


def sentence_of(error: JobledgerError) -> str:
    """Return what went wrong, in one sentence for people."""
    sentence = _sentence(error).strip().rstrip(".")
    return f"{sentence[:1].upper()}{sentence[1:]}."


def milliseconds(time: Timestamp) -> float:
    """Return a time as a browser counts it."""
    return max(-_MAX_MILLISECONDS, min(time.seconds * 1_000 + time.nanos // 1_000_000, _MAX_MILLISECONDS))


def seconds(time: Duration | Timestamp) -> float:
    """Return a duration, or a time since 1970, in seconds."""
    return time.seconds + time.nanos / 1e9


def clock(time: Timestamp) -> str:
    """Return a time of day to the second, of this machine's zone; with its date when that is another one."""
    try:
        known = time.ToDatetime(tzinfo=UTC).astimezone()
    except (ValueError, OverflowError):
        return local_time(time)
    return f"{known:%H:%M:%S}" if known.date() == datetime.now().astimezone().date() else f"{known:%Y-%m-%d %H:%M:%S}"


def count(number: int, *, is_lower_bound: bool = False) -> str:
    """Return a number with its thousands, and a plus sign where there may be more."""
    return f"{number:,}{'+' if is_lower_bound else ''}"


def plural(number: int, noun: str, *, is_lower_bound: bool = False) -> str:
    """Return a number with its noun: 1 job, 2 jobs."""
    return f"{count(number, is_lower_bound=is_lower_bound)} {noun}{'' if number == 1 and not is_lower_bound else 's'}"
