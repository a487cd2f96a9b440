"""The effective settings, for people and programs; secrets are masked."""

import re
import shlex
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

from msgspec import json
from msgspec.structs import asdict

from jobledger_service.core.store.engines import without_password
from jobledger_service.settings import Settings

from .environment import variable

MASK: Final = "***"
_SECRET: Final = re.compile(r"(^|_)(secret|password|token|pepper)s?($|_)")


class ConfigFormat(StrEnum):
    """How the settings are printed."""

    TABLE = "table"
    JSON = "json"
    ENV = "env"


def shown(settings: Settings) -> dict[str, object]:
    """Return the settings, secrets masked."""
    return {name: masked(name, value) for name, value in asdict(settings).items()}


def masked(name: str, value: object) -> object:
    """Return the printable value of a setting."""
    if value in (None, ""):
        return value
    if _SECRET.search(name):
        return MASK
    return without_password(str(value)) if isinstance(value, str | Path) else value


def render(settings: Settings, sources: Mapping[str, str], form: ConfigFormat) -> str:
    """Return the settings with their sources, as text."""
    return _FORMS[form](shown(settings), sources)


def _json(values: Mapping[str, object], sources: Mapping[str, str]) -> str:
    shown = {name: {"value": value, "source": sources[name]} for name, value in values.items()}
    return json.format(json.encode(shown), indent=2).decode()


def _env(values: Mapping[str, object], sources: Mapping[str, str]) -> str:
    """Return lines for a shell or an env file; unset and masked settings are commented out."""
    return "\n".join(
        f"{_comment(value)}{variable(name)}={shlex.quote(_text(value))}  # {sources[name]}"
        for name, value in values.items()
    )


def _comment(value: object) -> str:
    return "# " if value is None or MASK in str(value) else ""


def _table(values: Mapping[str, object], sources: Mapping[str, str]) -> str:
    rows = [("SETTING", "VALUE", "FROM")]
    rows += [(name, "none" if value is None else _text(value), sources[name]) for name, value in values.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"{name:{widths[0]}}  {value:{widths[1]}}  {source}" for name, value, source in rows)


def _text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


_FORMS: Final[Mapping[ConfigFormat, Callable[[Mapping[str, object], Mapping[str, str]], str]]] = {
    ConfigFormat.TABLE: _table,
    ConfigFormat.JSON: _json,
    ConfigFormat.ENV: _env,
}
