"""What is said of an error: one sentence on standard error, or one JSON object for programs; never a traceback."""

import json
import os
import re
import sys
import traceback
from collections.abc import Sequence

import typer

from jobledger_client._errors import FieldViolation, JobledgerError, UnavailableError
from jobledger_client.cli._exits import DEFECT, INPUT_OUTPUT, USAGE, exit_code

TRACEBACK = "JOBLEDGER_TRACEBACK"
"""In the environment, it asks for the traceback of a defect."""


# Since typer carries its own click, the base of its usage errors has no public name.
_OF_CHOICES = "Value error, "
UsageError: type[Exception] = typer.BadParameter.__bases__[0]


def tell(error: Exception, *, as_json: bool) -> int:
    """Tell what went wrong; return the exit code."""
    if isinstance(error, JobledgerError):
        return _refused(error, as_json=as_json)
    if isinstance(error, UsageError | ValueError):  # a ValueError is what the SDK says of a value before it is sent
        return _misused(error, as_json=as_json)
    if isinstance(error, OSError):
        return _unreadable(error, as_json=as_json)
    return _broken(error, as_json=as_json)


def _refused(error: JobledgerError, *, as_json: bool) -> int:
    code = exit_code(error)
    violations = [{"field": one.field, "description": one.description} for one in error.field_violations]
    _say(
        _sentence(error),
        code,
        as_json=as_json,
        status=error.code.name,
        reason=error.reason,
        metadata=error.metadata,
        fieldViolations=violations,
    )
    return code


def _misused(error: Exception, *, as_json: bool) -> int:
    context = getattr(error, "ctx", None)
    hint = f" ({context.command_path} --help tells more)" if context is not None else ""
    sentence = f"{getattr(error, 'format_message', error.__str__)().rstrip('.')}{hint}".replace(_OF_CHOICES, "")
    _say(sentence, USAGE, as_json=as_json, reason="USAGE")
    return USAGE


def _unreadable(error: OSError, *, as_json: bool) -> int:
    where = f"{error.filename}: " if error.filename else ""
    _say(f"{where}{error.strerror or error}", INPUT_OUTPUT, as_json=as_json, reason="INPUT_OUTPUT")
    return INPUT_OUTPUT


def _broken(error: Exception, *, as_json: bool) -> int:
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    hint = f"a defect of this command; {TRACEBACK}=1 in the environment shows where"
    _say(f"{type(error).__name__}: {error} ({hint})", DEFECT, as_json=as_json, reason="DEFECT")
    return DEFECT


def asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for JSON, also one that cannot be read as a whole."""
    words = " ".join(arguments)
    return re.search(r"(^| )(-o *=?|--output[ =])json( |$)", words) is not None


def _say(sentence: str, exit_status: int, *, as_json: bool, **more: object) -> None:
    if as_json:
        told = {name: value for name, value in more.items() if value}
        sentence = json.dumps({"error": {"message": sentence, "exitCode": exit_status, **told}})
    else:
        sentence = f"jobledger: {' '.join(sentence.splitlines())}"
    print(sentence, file=sys.stderr)


def _sentence(error: JobledgerError) -> str:
    if error.field_violations:
        return "; ".join(f"{violation.field}: {_rule(violation)}" for violation in error.field_violations)
    if isinstance(error, UnavailableError) and not error.reason:
        return f"the server could not be reached: {error.message}"
    request_id = error.metadata.get("request_id", "")
    return f"{error.message} (request id {request_id})" if request_id not in error.message else error.message


def _rule(violation: FieldViolation) -> str:
    return violation.description.removeprefix(f"{violation.field}: ")
