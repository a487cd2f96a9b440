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

from jobledger_service.core.database.engines import DatabaseInUseError, UnknownDatabaseError
from jobledger_service.core.database.maintenance.backup import BackupError, NotSqliteError
from jobledger_service.core.database.maintenance.epochs import ServersConnectedError
from jobledger_service.core.database.maintenance.migrate import SchemaError
from jobledger_service.core.model.refusals.errors import StoreUnavailable
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


@contextmanager
def exit_on_error(*, logs_defects: bool = False) -> Iterator[None]:
    """Print an expected error and exit with its status; an unexpected one may be logged."""
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
    except JobledgerError as error:
        raise typer.Exit(error_output.print_error(error, program=PROGRAM)) from None
    except Exception:
        if not logs_defects:
            raise
        log.exception("the server failed")
        raise typer.Exit(DEFECT) from None


def refuse_unknown_names() -> None:
    """Exit when an environment variable looks like a setting but is not one: the command would use a default."""
    if strays := unknown_names(os.environ):
        for sentence in strays:
            print_error(sentence)
        raise typer.Exit(CONFIGURATION)


def print_error(sentence: str) -> None:
    """Print an error on standard error, on one line."""
    error_output.print_sentence(sentence, program=PROGRAM)
