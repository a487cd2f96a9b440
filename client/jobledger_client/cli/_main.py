"""The command as a whole: what it consists of, and how its errors become a sentence and an exit code."""

import sys
from collections.abc import Sequence

import typer

from jobledger_client._errors import FieldViolation, JobledgerError, UnavailableError
from jobledger_client.cli import (
    _change,
    _create,
    _export,
    _import,
    _limits,
    _read,
    _stats,
    _top,
    _usage,
    _watch,
    _webhooks,
)
from jobledger_client.cli._exits import DONE, INTERRUPTED, TABLE, USAGE, exit_code
from jobledger_client.cli._session import Options, add_options, new_app, with_examples

# Since typer carries its own click, the base of its usage errors has no public name.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]

EXAMPLES = (
    """jobledger create crawl.images --items 2500 --input '{"site": "example.org"}' --wait""",
    """jobledger list --state RUNNING --state QUEUED""",
    """jobledger watch JOB_ID""",
    """jobledger list --output json | jq -r '.jobs[].jobId'""",
)
ABOUT = """Create, follow and steer the jobs of a Jobledger server.

The server is --target, or JOBLEDGER_TARGET, or 127.0.0.1:7070. With --output json, a command prints one JSON
document, and `watch` one a line, in the JSON form of the messages in the protos."""


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code. What went wrong is one sentence on standard error."""
    command = typer.main.get_command(application())
    try:
        return command.main(list(arguments), prog_name="jobledger", standalone_mode=False) or DONE
    except UsageError as error:
        return _misused(error)
    except JobledgerError as error:
        _say(_sentence(error))
        return exit_code(error)
    except ValueError as error:  # what the SDK says of a value before it is sent
        _say(str(error))
        return USAGE
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED


def application() -> typer.Typer:
    """Return the command with its subcommands."""
    app = new_app()
    about = with_examples(with_examples(ABOUT, "Examples:", *EXAMPLES), "Exit codes:", *TABLE)

    @app.callback(invoke_without_command=True, help=about)
    @add_options
    def remember(context: typer.Context, options: Options) -> None:
        context.obj = options
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())
            raise typer.Exit(USAGE)

    for module in (_create, _read, _watch, _export, _change, _stats, _top, _limits, _webhooks, _usage, _import):
        module.register(app)
    return app


def _misused(error: Exception) -> int:
    context = getattr(error, "ctx", None)
    hint = f" ({context.command_path} --help tells more)" if context is not None else ""
    _say(f"{getattr(error, 'format_message', error.__str__)().rstrip('.')}{hint}")
    return USAGE


def _sentence(error: JobledgerError) -> str:
    if error.field_violations:
        return "; ".join(f"{violation.field}: {_rule(violation)}" for violation in error.field_violations)
    if isinstance(error, UnavailableError) and not error.reason:
        return f"the server could not be reached: {error.message}"
    return error.message


def _rule(violation: FieldViolation) -> str:
    return violation.description.removeprefix(f"{violation.field}: ")


def _say(sentence: str) -> None:
    print(f"jobledger: {sentence}", file=sys.stderr)
