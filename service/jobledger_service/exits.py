"""What a command says when it cannot do its work, and the status with which it exits; those of sysexits.h."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import typer

from .connecting import RefusedError
from .domain.errors import StoreUnavailable
from .environment import unknown_names
from .rpc.server import CannotListenError
from .rpc.tls import CertificateError
from .settings import WrongSettingError
from .store.backup import BackupError, NotSqliteError
from .store.engines import DatabaseInUseError, UnknownDatabaseError
from .store.migrate import SchemaError

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
)


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
    """Print a sentence on standard error."""
    print(f"jobledger-server: {sentence}", file=sys.stderr)  # noqa: T201
