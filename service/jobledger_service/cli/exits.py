"""What a command says when it cannot do its work, and the status with which it exits; those of sysexits.h."""

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
from jobledger_service.settings import WrongSettingError
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
"""The database cannot be reached, which may pass (EX_UNAVAILABLE)."""
CONFIGURATION: Final = 78
"""It was told something that it cannot do (EX_CONFIG)."""

WRONG: Final = (
    WrongSettingError,
    CannotListenError,
    CertificateError,
    NotSqliteError,
    DatabaseInUseError,
    UnknownDatabaseError,
    SchemaError,
    ServersConnectedError,
)


TOLD: Final = (*WRONG, StoreUnavailable, BackupError, RefusedError)

# Since typer carries its own click, the base of its usage errors has no public name.
UsageError: Final[type[Exception]] = typer.BadParameter.__bases__[0]


@contextmanager
def logged() -> Iterator[None]:
    """Log what a server dies of, and exit; what a sentence can tell is left to `told`."""
    try:
        yield
    except TOLD:
        raise
    except Exception:
        log.exception("the server failed")
        raise typer.Exit(DEFECT) from None


def exit_status(run: Callable[[], int | None]) -> int:
    """Run a command line and return its exit status; what went wrong is one sentence, never a traceback."""
    try:
        return run() or 0
    except UsageError as error:
        return _misused(error)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except OSError as error:
        say(" ".join(filter(None, [f"{error.filename}:" if error.filename else "", error.strerror or str(error)])))
        return INPUT_OUTPUT
    except Exception as error:  # noqa: BLE001  nobody but a developer reads a traceback
        if os.environ.get(TRACEBACK):
            traceback.print_exception(error)
        say(f"{type(error).__name__}: {error} (a defect; {TRACEBACK}=1 in the environment shows where)")
        return DEFECT


def _misused(error: Any) -> int:  # noqa: ANN401  a usage error
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "jobledger-server"
    if context is not None and not context.args and type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(context.get_help(), err=True)
    else:
        say(f"{error.format_message().rstrip('.')} ({path} --help tells more)")
    return USAGE


@contextmanager
def told() -> Iterator[None]:
    """Tell what keeps a command from its work in one sentence, and exit with a status for it."""
    try:
        yield
    except WRONG as error:
        say(str(error))
        raise typer.Exit(CONFIGURATION) from None
    except StoreUnavailable as error:
        say(f"{error} ({error.__cause__})")
        raise typer.Exit(UNAVAILABLE) from None
    except BackupError as error:
        say(str(error))
        raise typer.Exit(1) from None
    except RefusedError as error:
        say(str(error))
        raise typer.Exit(error.status) from None


def refuse_unknown_names() -> None:
    """Exit when something in the environment looks like a setting and is none: the command would go by a default."""
    if strays := unknown_names(os.environ):
        for sentence in strays:
            say(sentence)
        raise typer.Exit(CONFIGURATION)


def say(sentence: str) -> None:
    """Print a sentence on standard error, on one line."""
    print(f"jobledger-server: {' '.join(sentence.split())}", file=sys.stderr)  # noqa: T201
