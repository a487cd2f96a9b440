"""The output of an error: one sentence on standard error, or one JSON object; never a traceback."""

import os
import re
import sys
import traceback
from collections.abc import Sequence

import typer

from jobledger_client._errors import FieldViolation, JobledgerError, UnavailableError
from jobledger_client.cli import _json
from jobledger_client.cli._exit_codes import DEFECT, INPUT_OUTPUT, USAGE, exit_code

TRACEBACK = "JOBLEDGER_TRACEBACK"
"""This variable of the environment enables the traceback of a defect."""

_CHOICE_PREFIX = "Value error, "
# typer bundles click, so that the base of its usage errors has no public name.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]


def print_error(error: Exception, *, as_json: bool) -> int:
    """Print an error; return the exit code."""
    if isinstance(error, JobledgerError):
        return _print_service_error(error, as_json=as_json)
    if isinstance(error, UsageError | ValueError):  # the SDK raises ValueError before it sends a request
        return _print_usage_error(error, as_json=as_json)
    if isinstance(error, OSError):
        return _print_os_error(error, as_json=as_json)
    return _print_defect(error, as_json=as_json)


def _print_service_error(error: JobledgerError, *, as_json: bool) -> int:
    code = exit_code(error)
    violations = [{"field": one.field, "description": one.description} for one in error.field_violations]
    _print(
        _sentence(error),
        code,
        as_json=as_json,
        status=error.code.name,
        reason=error.reason,
        metadata=error.metadata,
        fieldViolations=violations,
    )
    return code


def _print_usage_error(error: Exception, *, as_json: bool) -> int:
    context = getattr(error, "ctx", None)
    hint = f" (see {context.command_path} --help)" if context is not None else ""
    sentence = f"{getattr(error, 'format_message', error.__str__)().rstrip('.')}{hint}".replace(_CHOICE_PREFIX, "")
    _print(sentence, USAGE, as_json=as_json, reason="USAGE")
    return USAGE


def _print_os_error(error: OSError, *, as_json: bool) -> int:
    file = f"{error.filename}: " if error.filename else ""
    _print(f"{file}{error.strerror or error}", INPUT_OUTPUT, as_json=as_json, reason="INPUT_OUTPUT")
    return INPUT_OUTPUT


def _print_defect(error: Exception, *, as_json: bool) -> int:
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    hint = f"a defect of this command; {TRACEBACK}=1 in the environment prints the traceback"
    _print(f"{type(error).__name__}: {error} ({hint})", DEFECT, as_json=as_json, reason="DEFECT")
    return DEFECT


def is_json_requested(arguments: Sequence[str]) -> bool:
    """Return whether a command line requests JSON, even if it is invalid."""
    return re.search(r"(^| )(-o *=?|--output[ =])json( |$)", " ".join(arguments)) is not None


def _print(sentence: str, exit_status: int, *, as_json: bool, **details: object) -> None:
    if as_json:
        present = {name: value for name, value in details.items() if value}
        _json.print_line({"error": {"message": sentence, "exitCode": exit_status, **present}}, sys.stderr)
    else:
        print(f"jobledger: {' '.join(sentence.splitlines())}", file=sys.stderr)


def _sentence(error: JobledgerError) -> str:
    if error.field_violations:
        return "; ".join(f"{violation.field}: {_rule(violation)}" for violation in error.field_violations)
    if isinstance(error, UnavailableError) and not error.reason:
        return f"the server is unreachable: {error.message}"
    request_id = error.metadata.get("request_id", "")
    return f"{error.message} (request id {request_id})" if request_id not in error.message else error.message


def _rule(violation: FieldViolation) -> str:
    return violation.description.removeprefix(f"{violation.field}: ")
