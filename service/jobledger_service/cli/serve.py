"""The command `jobledger-server serve`."""

from typing import Any

import typer
import uvloop

from jobledger_service.settings import InvalidSettingError

from . import logs
from .exits import exit_on_error
from .options import settings_of, takes_settings
from .startup_checks import check_ports_are_free, check_settings
from .supervisor import supervise

cli = typer.Typer(rich_markup_mode=None)


@cli.command("serve")
@takes_settings
def serve_command(flags: dict[str, Any]) -> None:
    """Serve until SIGTERM or Ctrl-C, then drain.

    Example: jobledger-server serve --database sqlite:///jobledger.db --listen 127.0.0.1:7070
    """
    settings = settings_of(**flags)
    logs.set_up(settings.log_level, settings.log_format)
    with exit_on_error():
        check_settings(settings)
        if settings.tracing and settings.processes == 1:
            _export_traces()
        from jobledger_service.app import serve  # noqa: PLC0415  what the server is made of takes half of the start

        if settings.processes == 1:
            check_ports_are_free(settings)
        serving = supervise(settings, _ready) if settings.processes > 1 else serve(settings, _ready)
        with exit_on_error(logs_defects=True):
            status = uvloop.run(serving)
        raise typer.Exit(status)


def _export_traces() -> None:
    try:
        from jobledger_service.transport.tracing import export  # noqa: PLC0415  an extra
    except ImportError as error:
        raise InvalidSettingError(
            f"--tracing needs the extra: pip install 'jobledger-service[otel]' ({error})"
        ) from None
    export()


def _ready(address: str) -> None:
    print(f"jobledger listening on {address}", flush=True)  # noqa: T201
