"""The command: its subcommands, its options, and the handling of errors."""

from collections.abc import Sequence
from typing import Annotated

import typer

from jobledger_client import __version__
from jobledger_client.cli import _error_output as error_output
from jobledger_client.cli._admin import _limits, _outbox, _pauses, _quotas, _stats, _usage, _webhooks, _workers
from jobledger_client.cli._exit_codes import TABLE, USAGE
from jobledger_client.cli._jobs import _change, _create, _export, _import, _read
from jobledger_client.cli._live import _top, _watch
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
    """Run a command and return its exit code."""
    command = typer.main.get_command(application())
    return error_output.run_command(command, arguments, as_json=error_output.is_json_requested(arguments))


Version = Annotated[bool | None, error_output.version_option(error_output.PROGRAM, __version__)]


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
        _outbox,
    ):
        module.register(app)
    return app
