"""What a handler raised, as the service and the log take it, whatever it is."""

import asyncio
import traceback
from collections.abc import Callable

from jobledger.v1.chunk_pb2 import WorkError

from jobledger_client._worker._containment import HandlerExit
from jobledger_client._worker._handlers import NotRetryable

_CODE_LENGTH = 128
_TIMED_OUT = "HANDLER_TIMEOUT"
_MESSAGE_LENGTH = 4_096
_TRACEBACK_LENGTH = 32 * 1024


class HandlerTimeout(Exception):  # noqa: N818 - it reads as what it says
    """A handler ran for longer than it may; nobody raises it, attempts fail with it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the handler was stopped: it ran for longer than its timeout of {seconds:g} s")


def work_error(error: BaseException, stage: str) -> WorkError:
    """Return an error as the service takes it: cut to its bounds, without characters that it refuses."""
    code = error.code if isinstance(error, NotRetryable) and isinstance(error.code, str) else ""
    if isinstance(error, HandlerTimeout):
        code = _TIMED_OUT
    return WorkError(
        code=_clean(code)[:_CODE_LENGTH] or _clean(type(error).__name__)[:_CODE_LENGTH],
        message=_clean(text_of(error))[:_MESSAGE_LENGTH],
        stage=stage,
    )


def text_of(error: BaseException) -> str:
    """Return what an exception says; its str may fail, too."""
    if isinstance(error, SystemExit):
        return f"the handler called sys.exit({_part(repr, error.code)})"
    if isinstance(error, asyncio.CancelledError) and not error.args:
        return "the handler was cancelled, but not by the worker"
    if isinstance(error, HandlerExit) and error.__cause__ is not None:
        return f"{error}: {text_of(error.__cause__)}"
    return _part(str, error)


def log_text(error: BaseException) -> str:
    """Return the traceback for the log: of bounded length, in characters that every stream takes."""
    try:
        text = "".join(traceback.format_exception(error)).encode(errors="backslashreplace").decode()
    except BaseException:  # noqa: BLE001 - an exception may fail at anything that is asked of it
        return f"{type(error).__name__} (its traceback cannot be formatted)"
    if len(text) <= _TRACEBACK_LENGTH:
        return text.rstrip()
    half = _TRACEBACK_LENGTH // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}".rstrip()


def _part(read: Callable[[object], str], value: object) -> str:
    try:
        return read(value).encode(errors="replace").decode()
    except BaseException as failure:  # noqa: BLE001 - see above
        return f"({type(value).__name__}, whose text cannot be read: {type(failure).__name__})"


def _clean(text: str) -> str:
    """Return the text without what protobuf or the service refuses: NUL, and halves of surrogate pairs."""
    return text[: 4 * _MESSAGE_LENGTH].replace("\x00", "�").encode(errors="replace").decode()
