"""A handler's exception as a WorkError and as text for the log."""

import asyncio
import traceback
from collections.abc import Callable
from datetime import timedelta

from jobledger.v1.chunk_pb2 import WorkError

from jobledger_client import _values as values
from jobledger_client._worker._handler_tasks import HandlerExit
from jobledger_client._worker._handlers import NotRetryable, RetryLater

_CODE_LENGTH = 128
_TIMED_OUT = "HANDLER_TIMEOUT"
_NAMELESS = "Exception"
_MESSAGE_LENGTH = 4_096
_TRACEBACK_LENGTH = 32 * 1024


class HandlerTimeout(Exception):  # noqa: N818 - internal, never raised
    """The error of an attempt whose handler exceeded its timeout."""

    def __init__(self, timeout: timedelta) -> None:
        super().__init__(
            f"the handler was stopped: it ran for longer than its timeout of {timeout.total_seconds():g} s"
        )


def work_error(error: BaseException, stage: str) -> WorkError:
    """Return an exception as a WorkError: cut to the service's limits, without characters that it refuses."""
    return WorkError(
        code=_clean(_code(error))[:_CODE_LENGTH],
        message=_clean(error_text(error))[:_MESSAGE_LENGTH],
        stage=stage,
    )


def retry_delay(error: BaseException) -> timedelta | None:
    """Return the delay of a RetryLater, or None (the job's retry policy decides) if the service would refuse it."""
    try:
        return values.delay(error.delay) if isinstance(error, RetryLater) else None
    except BaseException:  # noqa: BLE001 - a subclass may have set no delay, or another object
        return None


def error_text(error: BaseException) -> str:
    """Return the message of an exception, even if its __str__ fails."""
    if isinstance(error, SystemExit):
        return f"the handler called sys.exit({_read_text(repr, error.code)})"
    if isinstance(error, asyncio.CancelledError) and not error.args:
        return "the handler was cancelled, but not by the worker"
    if isinstance(error, HandlerExit) and error.__cause__ is not None:
        return f"{error}: {error_text(error.__cause__)}"
    return _read_text(str, error)


def traceback_text(error: BaseException) -> str:
    """Return the traceback for the log, limited in length, in characters that every stream accepts."""
    try:
        text = "".join(traceback.format_exception(error)).encode(errors="backslashreplace").decode()
    except BaseException:  # noqa: BLE001 - any method of an exception may raise
        return f"{type(error).__name__} (its traceback cannot be formatted)"
    if len(text) <= _TRACEBACK_LENGTH:
        return text.rstrip()
    half = _TRACEBACK_LENGTH // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}".rstrip()


def _code(error: BaseException) -> str:
    """Return the code that the exception has, or else the name of its class."""
    if isinstance(error, HandlerTimeout):
        return _TIMED_OUT
    try:
        code = error.code if isinstance(error, NotRetryable | RetryLater) and isinstance(error.code, str) else ""
        return code or type(error).__name__ or _NAMELESS
    except BaseException:  # noqa: BLE001 - a subclass may have set no code, and a metaclass may hide its name
        return _NAMELESS


def _read_text(read: Callable[[object], str], value: object) -> str:
    try:
        return read(value).encode(errors="replace").decode()
    except BaseException as failure:  # noqa: BLE001 - see above
        return f"({type(value).__name__}, whose text cannot be read: {type(failure).__name__})"


def _clean(text: str) -> str:
    """Return the text without NUL, which the service refuses, and halves of surrogate pairs, which protobuf refuses."""
    return text[: 4 * _MESSAGE_LENGTH].replace("\x00", "�").encode(errors="replace").decode()
