"""Spans of time as people write them: 500ms, 30s, 5m, 2h, 7d, 1w; a bare number is in seconds."""

import re
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SHOWN: Final = {name: size for name, size in _UNITS.items() if name != "w"}


def seconds_of(word: str) -> float:
    """Return a span of time in seconds; raises ValueError for what is none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|[smhdw])?", word.strip())
    if match is None:
        raise ValueError(f"{word!r} is not a span of time such as 30s, 5m, 2h or 7d")
    seconds = float(match[1]) * _UNITS[match[2] or "s"]
    if seconds > timedelta.max.total_seconds():
        raise ValueError(f"{word!r} is longer than {timedelta.max.days:,} days")
    return seconds


def text_of(seconds: float) -> str:
    """Return a span of time in the largest unit in which it is a whole number."""
    if not seconds:
        return "0s"
    for name, size in sorted(_SHOWN.items(), key=lambda unit: -unit[1]):
        if (seconds / size).is_integer():
            return f"{round(seconds / size)}{name}"
    return f"{seconds:g}s"


def _read(value: Any) -> Any:  # noqa: ANN401  a number, or a word to be read
    return seconds_of(value) if isinstance(value, str) else value


SPAN: Final = BeforeValidator(_read)
Seconds = Annotated[float, SPAN]
"""A setting that is a span of time, in seconds."""
MaybeSeconds = Annotated[float | None, SPAN]
"""The same, None for ever."""
