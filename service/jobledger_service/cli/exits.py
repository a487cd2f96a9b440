"""Errors of commands, and the exit statuses, which are those of sysexits.h."""

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import structlog
import typer

from jobledger_service.core.model.errors import StoreUnavailable
from jobledger_service.core.store.backup import BackupError, NotSqliteError
from jobledger_service.core.store.engines import DatabaseInUseError, UnknownDatabaseError
from jobledger_service.core.store.epochs import ServersConnectedError
from jobledger_service.core.store.migrate import SchemaError
from jobledger_service.settings import InvalidSettingError
from jobledger_service.transport.server import CannotListenError
from jobledger_service.transport.tls import CertificateError

from .connection import RefusedError
from .environment import TRACEBACK, unknown_names

log = structlog.get_logger(__name__)

USAGE: Final = 2
"""The command line cannot be read."""
INTERRUPTED: Final = 130
INPUT_OUTPUT: Final = 74
"""A file or a pipe could not be read or written (EX_IOERR)."""
DEFECT: Final = 70
"""Something in the program failed (EX_SOFTWARE)."""
UNAVAILABLE: Final = 69
"""The database cannot be reached, possibly for a short time (EX_UNAVAILABLE)."""
CONFIGURATION: Final = 78
"""The configuration cannot work (EX_CONFIG)."""

CONFIGURATION_ERRORS: Final = (
    InvalidSettingError,
    CannotListenError,
    CertificateError,
    NotSqliteError,
    DatabaseInUseError,
    UnknownDatabaseError,
    SchemaError,
    ServersConnectedError,
)


EXPECTED_ERRORS: Final = (*CONFIGURATION_ERRORS, StoreUnavailable, BackupError, RefusedError)

# since typer carries its own click, the base of its usage errors has no public name
UsageError: Final[type[Exception]] = typer.BadParameter.__bases__[0]


@contextmanager
def log_and_exit() -> Iterator[None]:
    """Log an unexpected error and exit; `exit_on_error` handles expected ones."""
    try:
        yield
    except EXPECTED_ERRORS:
        raise
    except Exception:
        log.exception("the server failed")
        raise typer.Exit(DEFECT) from None


def exit_status(run: Callable[[], int | None]) -> int:
    """Run a command line and return its exit status; an error is one sentence, never a traceback."""
    try:
        return run() or 0
    except UsageError as error:
        return _usage_error(error)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except OSError as error:
        print_error(
            " ".join(filter(None, [f"{error.filename}:" if error.filename else "", error.strerror or str(error)]))
        )
        return INPUT_OUTPUT
    except Exception as error:  # noqa: BLE001  nobody but a developer reads a traceback
        if os.environ.get(TRACEBACK):
            traceback.print_exception(error)
        print_error(f"{type(error).__name__}: {error} (internal error; set {TRACEBACK}=1 to print the traceback)")
        return DEFECT


def _usage_error(error: Any) -> int:  # noqa: ANN401  a usage error
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "jobledger-server"
    if context is not None and not context.args and type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(context.get_help(), err=True)
    else:
        print_error(f"{error.format_message().rstrip('.')} ({path} --help tells more)")
    return USAGE


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Print an expected error and exit with its status."""
    try:
        yield
    except CONFIGURATION_ERRORS as error:
        print_error(str(error))
        raise typer.Exit(CONFIGURATION) from None
    except StoreUnavailable as error:
        print_error(f"{error} ({error.__cause__})")
        raise typer.Exit(UNAVAILABLE) from None
    except BackupError as error:
        print_error(str(error))
        raise typer.Exit(1) from None
    except RefusedError as error:
        print_error(str(error))
        raise typer.Exit(error.status) from None


def refuse_unknown_names() -> None:
    """Exit when an environment variable looks like a setting and is none: the command would use a default."""
    if strays := unknown_names(os.environ):
        for sentence in strays:
            print_error(sentence)
        raise typer.Exit(CONFIGURATION)


def print_error(sentence: str) -> None:
    """Print an error on standard error, on one line."""
    print(f"jobledger-server: {' '.join(sentence.split())}", file=sys.stderr)  # noqa: T201
