"""The exit status of a command line; it is that of `jobledger`, and of sysexits.h."""

from collections.abc import Callable
from typing import Final

import typer
from jobledger_client.cli import _error_output as error_output
from jobledger_client.cli._exit_codes import INTERRUPTED, USAGE

PROGRAM: Final = "jobledger-server"


def exit_status(run: Callable[[], int | None]) -> int:
    """Run a command line and return its exit status; an error is one sentence, never a traceback."""
    try:
        return run() or 0
    except error_output.UsageError as error:
        return _usage_error(error)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except OSError as error:
        return error_output.print_error(error, program=PROGRAM)
    except Exception as error:  # noqa: BLE001  only developers read tracebacks
        return error_output.print_defect(error, program=PROGRAM)


def _usage_error(error: Exception) -> int:
    context = getattr(error, "ctx", None)
    if context is None or context.args or type(error).__name__ != "NoArgsIsHelpError":
        return error_output.print_error(error, program=PROGRAM)
    typer.echo(context.get_help(), err=True)
    return USAGE
