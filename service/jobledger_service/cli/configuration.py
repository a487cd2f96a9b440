"""The settings as people see them: their variables, misspelt ones, and what is in effect, with secrets masked."""

import difflib
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

from jobledger_client.cli._error_output import TRACEBACK
from msgspec import json
from msgspec.structs import asdict

from jobledger_service.core.store.engines import without_password
from jobledger_service.settings import PREFIX, SETTINGS, Settings

CLIENT_VARIABLES: Final = frozenset({"JOBLEDGER_API_KEY", "JOBLEDGER_TARGET", TRACEBACK})
"""The variables of the SDK's command line: a machine may have all of them."""


def variable(setting: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + setting.upper()


NAMES: Final = tuple(sorted(variable(name) for name in SETTINGS))


def unknown_names(environment: Iterable[str]) -> list[str]:
    """Return a sentence for each variable with the prefix of settings that is none, with the nearest setting."""
    known = CLIENT_VARIABLES.union(NAMES)
    strays = sorted(name for name in environment if name.upper().startswith(PREFIX) and name.upper() not in known)
    return [_sentence(name) for name in strays]


def _sentence(name: str) -> str:
    # Without the prefix, which makes all of them alike.
    nearest = difflib.get_close_matches(name[len(PREFIX) :].lower(), SETTINGS, n=1)
    advice = f"did you mean {variable(nearest[0])}?" if nearest else "`jobledger-server config` lists all settings"
    return f"{name} in the environment is not a setting: {advice}"


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
    commented = {name: "# " if value is None or MASK in str(value) else "" for name, value in values.items()}
    return "\n".join(
        f"{commented[name]}{variable(name)}={shlex.quote(_text(value))}  # {sources[name]}"
        for name, value in values.items()
    )


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
