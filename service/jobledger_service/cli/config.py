"""The command `jobledger-server config`."""

from typing import Annotated, Any

import typer

from jobledger_service.settings import SETTINGS

from .configuration import ConfigFormat, render
from .exits import exit_on_error
from .options import settings_of, source_of, takes_settings
from .startup_checks import check_settings

cli = typer.Typer(rich_markup_mode=None)


@cli.command("config")
@takes_settings
def config_command(
    context: typer.Context,
    given: dict[str, Any],
    output: Annotated[ConfigFormat, typer.Option("--output", "-o", help="How to print them.")] = ConfigFormat.TABLE,
) -> None:
    """Print the settings that `serve` would use with the same flags and environment, and the source of each.

    Passwords are masked. Example: jobledger-server config --output env
    """
    settings = settings_of(**given)
    with exit_on_error():
        check_settings(settings)
    sources = {name: source_of(context, name) for name in SETTINGS}
    typer.echo(render(settings, sources, output))
