"""The command `jobledger-server config`: the settings in effect, secrets masked, and the source of each."""

import shlex
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from msgspec import json
from msgspec.structs import asdict

from jobledger_service.settings import SETTINGS

from .configuration import MASK, masked, variable
from .exits import exit_on_error
from .options import settings_of, takes_settings
from .startup_checks import check_settings

_SOURCES: Final = {"COMMANDLINE": "flag", "ENVIRONMENT": "environment"}

cli = typer.Typer(rich_markup_mode=None)


class ConfigFormat(StrEnum):
    """How the settings are printed."""

    TABLE = "table"
    JSON = "json"
    ENV = "env"


@cli.command("config")
@takes_settings
def config_command(
    context: typer.Context,
    flags: dict[str, Any],
    output: Annotated[ConfigFormat, typer.Option("--output", "-o", help="How to print them.")] = ConfigFormat.TABLE,
) -> None:
    """Print the settings that `serve` would use with the same flags and environment, and the source of each.

    Passwords are masked. Example: jobledger-server config --output env
    """
    settings = settings_of(**flags)
    with exit_on_error():
        check_settings(settings)
    values = {name: masked(name, value) for name, value in asdict(settings).items()}
    sources = {name: _source_of(context, name) for name in SETTINGS}
    render = {ConfigFormat.TABLE: _table, ConfigFormat.JSON: _json, ConfigFormat.ENV: _env}[output]
    typer.echo(render(values, sources))


def _source_of(context: typer.Context, setting: str) -> str:
    source = context.get_parameter_source(setting)
    return _SOURCES.get(source.name, "default") if source else "default"


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
