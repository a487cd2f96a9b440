"""The parsing of option values: JSON, pairs, times and durations."""

import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import typer

from jobledger_client.cli import _json

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def pairs(option: str, words: Iterable[str]) -> dict[str, str]:
    """Return NAME=VALUE words as a dict."""
    values: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise typer.BadParameter(f"{option}: must be NAME=VALUE; got {word!r}")
        if values.get(name, value) != value:
            raise typer.BadParameter(f"{option}: {name!r} must have one value; got {values[name]!r} and {value!r}")
        values[name] = value
    return values


def non_empty(option: str, word: str) -> str:
    """Return the word, unless it is empty, as an unset variable of a script would be."""
    if not word:
        raise typer.BadParameter(f"{option}: must not be empty")
    return word


def integer(option: str, word: str) -> int:
    """Return an integer."""
    try:
        return int(word)
    except ValueError:
        raise typer.BadParameter(f"{option}: must be an integer; got {word!r}") from None


def boolean(option: str, word: str) -> bool:
    """Return True for true, False for false."""
    if word not in ("true", "false"):
        raise typer.BadParameter(f"{option}: must be true or false; got {word!r}")
    return word == "true"


def json_value(option: str, word: str | None) -> Any:  # noqa: ANN401 - any JSON value
    """Return a JSON value: of the word itself, of the file after an @, or of standard input for a dash."""
    if word is None:
        return None
    try:
        return _json.loads(_text(word))
    except RecursionError:
        raise typer.BadParameter(f"{option}: must have fewer levels of nesting") from None
    except OSError as error:
        raise typer.BadParameter(f"{option}: {error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise typer.BadParameter(f"{option}: must be JSON: {error}") from error


def json_object(option: str, word: str | None) -> dict[str, Any] | None:
    """Return a JSON object; for the sources see json_value."""
    value = json_value(option, word)
    if value is not None and not isinstance(value, dict):
        raise typer.BadParameter(f'{option}: must be a JSON object, such as {{"site": "example.org"}}')
    return value


def json_objects(option: str, word: str | None) -> list[dict[str, Any]]:
    """Return a JSON array of objects, empty for None; for the sources see json_value."""
    value = json_value(option, word)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise typer.BadParameter(f'{option}: must be a JSON array of objects, such as [{{"page": 1}}, {{"page": 2}}]')
    return value


def duration(option: str, word: str | None) -> timedelta | None:
    """Return 500ms, 30s, 5m, 2h, 7d or 1w as a timedelta; a bare number is in seconds."""
    if word is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|[smhdw])?", word.strip())
    if match is None:
        raise typer.BadParameter(_prefixed(option, f"must be a duration such as 30s, 5m, 2h or 7d; got {word!r}"))
    try:
        return timedelta(seconds=float(match[1]) * _UNITS[match[2] or "s"])
    except OverflowError:
        max_days = timedelta.max.days
        raise typer.BadParameter(_prefixed(option, f"must be at most {max_days:,} days; got {word!r}")) from None


def timeout(word: str | timedelta) -> timedelta:
    """Return a duration above 0; a default is one already."""
    if isinstance(word, timedelta):
        return word
    parsed = duration("", word)
    if not parsed:
        raise typer.BadParameter(f"must be above 0; got {word!r}")
    return parsed


def past_time(option: str, word: str | None) -> datetime | None:
    """Return an ISO 8601 time, or the time that was a duration ago (2h). A time without a zone is local."""
    if word is None:
        return None
    if (time := _iso(word)) is not None:
        return time
    try:
        ago = duration(option, word)
    except typer.BadParameter:
        rule = "must be a time such as 2026-01-31T08:00 or a duration such as 2h"
        raise typer.BadParameter(f"{option}: {rule}; got {word!r}") from None
    return None if ago is None else _from_now(option, word, -ago)


def future_time(option: str, word: str | None) -> datetime | None:
    """Return the time that is a duration from now, or an ISO 8601 time."""
    if word is None:
        return None
    if (time := _iso(word)) is not None:
        return time
    after = duration(option, word)
    return None if after is None else _from_now(option, word, after)


def _iso(word: str) -> datetime | None:
    """Return an ISO 8601 time, local without a zone; None for any other word."""
    try:
        time = datetime.fromisoformat(word)
    except ValueError:
        return None
    try:
        return time.astimezone()
    except (OverflowError, ValueError):  # a local time at either end of the calendar
        return time.replace(tzinfo=time.tzinfo or UTC)


def _from_now(option: str, word: str, difference: timedelta) -> datetime:
    try:
        return datetime.now().astimezone() + difference
    except OverflowError:
        raise typer.BadParameter(f"{option}: must be in the years 1 to 9999; got {word!r}") from None


def _prefixed(option: str, rule: str) -> str:
    return f"{option}: {rule}" if option else rule


def weights(option: str, words: Iterable[str]) -> dict[str, float]:
    """Return NAME or NAME=WEIGHT words as weights by name, in order."""
    values = {}
    for word in words:
        name, equals, weight = word.partition("=")
        try:
            values[name] = float(weight) if equals else 1.0
        except ValueError:
            raise typer.BadParameter(f"{option}: must be NAME or NAME=WEIGHT; got {word!r}") from None
    return values


def _text(word: str) -> str:
    if word == "-":
        return sys.stdin.read()
    return Path(word[1:]).read_text(encoding="utf-8") if word.startswith("@") else word
