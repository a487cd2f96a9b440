"""Errors of commands. The exit statuses are those of `jobledger`, and of sysexits.h."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog
import typer
from jobledger_client import JobledgerError
from jobledger_client.cli import _error_output as error_output
from jobledger_client.cli._exit_codes import DEFECT, UNAVAILABLE

from jobledger_service.core.model.errors import StoreUnavailable
from jobledger_service.core.store.backup import BackupError, NotSqliteError
from jobledger_service.core.store.engines import DatabaseInUseError, UnknownDatabaseError
from jobledger_service.core.store.epochs import ServersConnectedError
from jobledger_service.core.store.migrate import SchemaError
from jobledger_service.settings import InvalidSettingError
from jobledger_service.transport.server import CannotListenError
from jobledger_service.transport.tls import CertificateError

from .configuration import unknown_names
from .exit_status import PROGRAM

log = structlog.get_logger(__name__)

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

EXPECTED_ERRORS: Final = (*CONFIGURATION_ERRORS, StoreUnavailable, BackupError, JobledgerError)


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


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Print an expected error and exit with its status."""
    try:
        yield
    except EXPECTED_ERRORS as error:
        if isinstance(error, JobledgerError):
            raise typer.Exit(error_output.print_error(error, program=PROGRAM)) from None
        is_away = isinstance(error, StoreUnavailable)
        print_error(f"{error} ({error.__cause__})" if is_away else str(error))
        raise typer.Exit(UNAVAILABLE if is_away else 1 if isinstance(error, BackupError) else CONFIGURATION) from None


def refuse_unknown_names() -> None:
    """Exit when an environment variable looks like a setting and is none: the command would use a default."""
    if strays := unknown_names(os.environ):
        for sentence in strays:
            print_error(sentence)
        raise typer.Exit(CONFIGURATION)


def print_error(sentence: str) -> None:
    """Print an error on standard error, on one line."""
    error_output.print_sentence(sentence, program=PROGRAM)
