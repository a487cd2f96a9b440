"""The settings as people see them: their variables, misspelt ones, and their values, with secrets masked."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from jobledger_client.cli._error_output import TRACEBACK

from jobledger_service.core.database.engines import without_password
from jobledger_service.settings import PREFIX, SETTINGS

CLIENT_VARIABLES: Final = frozenset({"JOBLEDGER_API_KEY", "JOBLEDGER_TARGET", "JOBLEDGER_OUTBOX_DATABASE", TRACEBACK})
"""The variables of the SDK's command line: a machine may have all of them."""

MASK: Final = "***"
_SECRET: Final = re.compile(r"(^|_)(secret|password|token|pepper)s?($|_)")


def variable(setting: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + setting.upper()


NAMES: Final = tuple(sorted(variable(name) for name in SETTINGS))


def unknown_names(environment: Iterable[str]) -> list[str]:
    """Return a sentence for each prefixed variable that is not a setting, with the nearest setting."""
    known = CLIENT_VARIABLES.union(NAMES)
    strays = sorted(name for name in environment if name.upper().startswith(PREFIX) and name.upper() not in known)
    return [_sentence(name) for name in strays]


def _sentence(name: str) -> str:
    # Without the prefix, which makes all of them alike.
    nearest = difflib.get_close_matches(name[len(PREFIX) :].lower(), SETTINGS, n=1)
    advice = f"did you mean {variable(nearest[0])}?" if nearest else "`jobledger-server config` lists all settings"
    return f"{name} in the environment is not a setting: {advice}"


def masked(name: str, value: object) -> object:
    """Return the printable value of a setting."""
    if value in (None, ""):
        return value
    if _SECRET.search(name):
        return MASK
    return without_password(str(value)) if isinstance(value, str | Path) else value
