"""The command: its subcommands, its options, and the handling of errors."""

import logging
from collections.abc import Sequence
from typing import Annotated

import typer

from jobledger_client import __version__
from jobledger_client.cli import (
    _change,
    _create,
    _export,
    _import,
    _limits,
    _pauses,
    _quotas,
    _read,
    _stats,
    _top,
    _usage,
    _watch,
    _webhooks,
    _workers,
)
from jobledger_client.cli import _error_output as error_output
from jobledger_client.cli._exit_codes import DONE, INTERRUPTED, TABLE, USAGE
from jobledger_client.cli._session import Options, add_options, new_app, with_examples

EXAMPLES = (
    """jobledger create crawl.images --items 2500 --input '{"site": "example.org"}' --wait""",
    """jobledger list --state RUNNING --state QUEUED""",
    """jobledger watch JOB_ID""",
    """jobledger list --output json | jq -r '.jobs[].jobId'""",
)
ABOUT = """Create, watch and change the jobs of a Jobledger server.

The server is --target, or JOBLEDGER_TARGET, or 127.0.0.1:7070. With --output json, a command prints one JSON
document, and `watch` one a line, in the JSON form of the messages in the protos."""


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code. An error is one sentence on standard error, or one JSON object."""
    logging.getLogger("grpc").addHandler(logging.NullHandler())  # gRPC logs the traceback of each error that it raises
    command = typer.main.get_command(application())
    try:
        return command.main(list(arguments), prog_name="jobledger", standalone_mode=False) or DONE
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - only developers read tracebacks
        return error_output.print_error(error, as_json=error_output.is_json_requested(arguments))


def _show_version(is_requested: bool | None) -> None:  # noqa: FBT001 - typer passes it by position
    if is_requested:
        typer.echo(f"jobledger {__version__}")
        raise typer.Exit


Version = Annotated[
    bool | None, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
]


def application() -> typer.Typer:
    """Return the command with its subcommands."""
    app = new_app()
    about = with_examples(with_examples(ABOUT, "Examples:", *EXAMPLES), "Exit codes:", *TABLE)

    @app.callback(invoke_without_command=True, help=about)
    @add_options
    def remember(context: typer.Context, options: Options, version: Version = None) -> None:  # noqa: ARG001 - eager
        context.obj = options
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())
            raise typer.Exit(USAGE)

    for module in (
        _create,
        _read,
        _watch,
        _export,
        _change,
        _stats,
        _top,
        _limits,
        _pauses,
        _workers,
        _webhooks,
        _usage,
        _quotas,
        _import,
    ):
        module.register(app)
    return app
