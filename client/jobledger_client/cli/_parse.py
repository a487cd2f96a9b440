"""From the words of a command line to values: JSON, pairs, times and spans of time."""

import json
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import typer

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def pairs(option: str, words: Iterable[str]) -> dict[str, str]:
    """Return NAME=VALUE words as a dict."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise typer.BadParameter(f"{option}: {word!r} is not NAME=VALUE")
        if found.get(name, value) != value:
            raise typer.BadParameter(f"{option}: {name!r} is given twice, as {found[name]!r} and as {value!r}")
        found[name] = value
    return found


def something(option: str, word: str) -> str:
    """Return the word, unless it is empty: as an unset variable of a script would leave it."""
    if not word:
        raise typer.BadParameter(f"{option}: is empty; leave it out, or give words")
    return word


def whole(option: str, word: str) -> int:
    """Return a whole number."""
    try:
        return int(word)
    except ValueError:
        raise typer.BadParameter(f"{option}: {word!r} is not a whole number") from None


def truth(option: str, word: str) -> bool:
    """Return true or false."""
    if word not in ("true", "false"):
        raise typer.BadParameter(f"{option}: must be true or false; got {word!r}")
    return word == "true"


def json_value(option: str, word: str | None) -> Any:  # noqa: ANN401 - any JSON value
    """Return what JSON says: in the word itself, in the file after an @, or on standard input for a dash."""
    if word is None:
        return None
    try:
        return json.loads(_text(word))
    except RecursionError:
        raise typer.BadParameter(f"{option}: is nested too deep") from None
    except OSError as error:
        raise typer.BadParameter(f"{option}: {error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise typer.BadParameter(f"{option}: not JSON: {error}") from error


def json_object(option: str, word: str | None) -> dict[str, Any] | None:
    """Return a JSON object, as json_value."""
    value = json_value(option, word)
    if value is not None and not isinstance(value, dict):
        raise typer.BadParameter(f'{option}: a JSON object is wanted, such as {{"site": "example.org"}}')
    return value


def json_objects(option: str, word: str | None) -> list[dict[str, Any]]:
    """Return a JSON array of objects, as json_value; empty for None."""
    value = json_value(option, word)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise typer.BadParameter(f'{option}: a JSON array of objects is wanted, such as [{{"page": 1}}, {{"page": 2}}]')
    return value


def span(option: str, word: str | None) -> timedelta | None:
    """Return 500ms, 30s, 5m, 2h, 7d or 1w as a timedelta; a bare number is in seconds."""
    if word is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|[smhdw])?", word.strip())
    if match is None:
        raise typer.BadParameter(_of(option, f"{word!r} is not a span of time such as 30s, 5m, 2h or 7d"))
    try:
        return timedelta(seconds=float(match[1]) * _UNITS[match[2] or "s"])
    except OverflowError:
        raise typer.BadParameter(_of(option, f"{word!r} is longer than {timedelta.max.days:,} days")) from None


def seconds(word: str | float) -> float:
    """Return a span of time that is longer than nothing, in seconds; a default is there as a number already."""
    if isinstance(word, float):
        return word
    found = span("", word)
    if not found:
        raise typer.BadParameter(f"{word!r} is not above 0")
    return found.total_seconds()


def moment(option: str, word: str | None) -> datetime | None:
    """Return an ISO 8601 time, or the moment that a span ago was (2h). A time without a zone is local."""
    if word is None:
        return None
    if (time := _iso(word)) is not None:
        return time
    try:
        ago = span(option, word)
    except typer.BadParameter:
        raise typer.BadParameter(f"{option}: {word!r} is neither a time such as 2026-01-31T08:00 nor a span") from None
    return None if ago is None else _from_now(option, word, -ago)


def later(option: str, word: str | None) -> datetime | None:
    """Return the moment that is a span from now, or the time that is given in ISO 8601."""
    if word is None:
        return None
    if (time := _iso(word)) is not None:
        return time
    ahead = span(option, word)
    return None if ahead is None else _from_now(option, word, ahead)


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


def _from_now(option: str, word: str, span: timedelta) -> datetime:
    try:
        return datetime.now().astimezone() + span
    except OverflowError:
        raise typer.BadParameter(f"{option}: {word!r} is beyond the years 1 to 9999") from None


def _of(option: str, rule: str) -> str:
    return f"{option}: {rule}" if option else rule


def weighted(option: str, words: Iterable[str]) -> dict[str, float]:
    """Return NAME or NAME=WEIGHT words as weights by name, in order."""
    weights = {}
    for word in words:
        name, equals, weight = word.partition("=")
        try:
            weights[name] = float(weight) if equals else 1.0
        except ValueError:
            raise typer.BadParameter(f"{option}: {word!r} is not NAME or NAME=WEIGHT") from None
    return weights


def numbers(option: str, words: Iterable[str]) -> dict[str, int]:
    """Return NAME=N words as numbers by name."""
    found = {}
    for word in words:
        name, _, number = word.rpartition("=")
        if not name or not number.isdecimal():
            raise typer.BadParameter(f"{option}: {word!r} is not NAME=N with a whole number")
        found[name] = int(number)
    return found


def _text(word: str) -> str:
    if word == "-":
        return sys.stdin.read()
    return Path(word[1:]).read_text(encoding="utf-8") if word.startswith("@") else word
