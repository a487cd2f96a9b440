"""The output of an error: one sentence on standard error, or one JSON object; never a traceback."""

import logging
import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import typer

from jobledger_client._error_groups import FieldViolation, JobledgerError, UnavailableError
from jobledger_client.cli import _json
from jobledger_client.cli._exit_codes import DEFECT, DONE, INPUT_OUTPUT, INTERRUPTED, USAGE, exit_code

PROGRAM = "jobledger"
TRACEBACK = "JOBLEDGER_TRACEBACK"
"""This variable of the environment enables the traceback of a defect."""

_CHOICE_PREFIX = "Value error, "
# typer bundles click, so that the base of its usage errors has no public name.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]


@dataclass(frozen=True, slots=True)
class ErrorOutput:
    """One sentence, the exit code, and what JSON has beside them."""

    sentence: str
    exit_code: int
    details: Mapping[str, object]


def run_command(
    command: Any,  # noqa: ANN401  typer bundles click
    arguments: Sequence[str],
    program: str = PROGRAM,
    *,
    as_json: bool = False,
) -> int:
    """Run a command and return its exit code. An error is one sentence on standard error, or one JSON object."""
    logging.getLogger("grpc").addHandler(logging.NullHandler())  # gRPC logs the traceback of each error that it raises
    try:
        return command.main(list(arguments), prog_name=program, standalone_mode=False) or DONE
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - only developers read tracebacks
        return print_error(error, as_json=as_json, program=program)


def version_option(program: str, version: str) -> Any:  # noqa: ANN401  what typer takes
    """Return the option `--version` of a program."""

    def show(is_requested: bool | None) -> None:  # noqa: FBT001 - typer passes it by position
        if is_requested:
            typer.echo(f"{program} {version}")
            raise typer.Exit

    return typer.Option("--version", callback=show, is_eager=True, help="Show the version.")


def print_error(error: Exception, *, as_json: bool = False, program: str = PROGRAM) -> int:
    """Print an error; return the exit code."""
    if isinstance(error, JobledgerError):
        output = _service_error(error)
    elif isinstance(error, UsageError | ValueError):  # the SDK raises ValueError before it sends a request
        output = _usage_error(error)
    elif isinstance(error, OSError):
        file = f"{error.filename}: " if error.filename else ""
        output = ErrorOutput(f"{file}{error.strerror or error}", INPUT_OUTPUT, {"reason": "INPUT_OUTPUT"})
    else:
        return print_defect(error, as_json=as_json, program=program)
    return _print(output, as_json=as_json, program=program)


def print_defect(error: Exception, *, as_json: bool = False, program: str = PROGRAM) -> int:
    """Print an error that no command expects; return the exit code."""
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    hint = f"a defect of this command; {TRACEBACK}=1 in the environment prints the traceback"
    output = ErrorOutput(f"{type(error).__name__}: {error} ({hint})", DEFECT, {"reason": "DEFECT"})
    return _print(output, as_json=as_json, program=program)


def print_sentence(sentence: str, *, program: str = PROGRAM) -> None:
    """Print a sentence on standard error, on one line."""
    lines = (line.strip() for line in sentence.splitlines())
    print(f"{program}: {' '.join(filter(None, lines))}", file=sys.stderr)


def _service_error(error: JobledgerError) -> ErrorOutput:
    violations = [
        {"field": violation.field, "description": violation.description} for violation in error.field_violations
    ]
    details = {
        "status": error.code.name,
        "reason": error.reason,
        "metadata": error.metadata,
        "fieldViolations": violations,
    }
    return ErrorOutput(_sentence(error), exit_code(error), details)


def _usage_error(error: Exception) -> ErrorOutput:
    context = getattr(error, "ctx", None)
    hint = f" (see {context.command_path} --help)" if context is not None else ""
    sentence = f"{getattr(error, 'format_message', error.__str__)().rstrip('.')}{hint}".replace(_CHOICE_PREFIX, "")
    return ErrorOutput(sentence, USAGE, {"reason": "USAGE"})


def is_json_requested(arguments: Sequence[str]) -> bool:
    """Return whether a command line requests JSON, even if it is invalid."""
    return re.search(r"(^| )(-o *=?|--output[ =])json( |$)", " ".join(arguments)) is not None


def _print(output: ErrorOutput, *, as_json: bool, program: str) -> int:
    if as_json:
        present = {name: value for name, value in output.details.items() if value}
        error = {"message": output.sentence, "exitCode": output.exit_code, **present}
        _json.print_line({"error": error}, sys.stderr)
    else:
        print_sentence(output.sentence, program=program)
    return output.exit_code


def _sentence(error: JobledgerError) -> str:
    if error.field_violations:
        return "; ".join(f"{violation.field}: {_rule(violation)}" for violation in error.field_violations)
    if isinstance(error, UnavailableError) and not error.reason:
        return f"the server is unreachable: {error.message}"
    request_id = error.metadata.get("request_id", "")
    return f"{error.message} (request id {request_id})" if request_id not in error.message else error.message


def _rule(violation: FieldViolation) -> str:
    return violation.description.removeprefix(f"{violation.field}: ")
