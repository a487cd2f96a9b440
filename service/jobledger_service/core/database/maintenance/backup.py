"""Copies of SQLite databases: a back-up, made while a server writes, and a database restored from one."""

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from jobledger_service.core.database.engines import UnknownDatabaseError, open_database, without_password

from .epochs import begin_epoch
from .migrate import upgrade

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES_PER_STEP: Final = 2_048
"""The number of pages, 8 MiB, between two reports of progress."""

Progress = Callable[[int, int], None]
"""Called with the number of copied pages, and of all pages."""


class BackupError(Exception):
    """The copy failed and was removed."""


class NotSqliteError(BackupError):
    """The database has tools of its own for this."""


def back_up(url: str, target: Path, progress: Progress) -> int:
    """Copy the database of a URL to a new file; return the ledger's position in the copy.

    The copy is one consistent state, of the time of the start. It is verified, and gets its name only when it is
    complete. Only those who may read the database may read it. Raises BackupError.
    """
    source = _file(url)
    if target.exists():
        raise BackupError(f"{target} exists already: a back-up does not overwrite; give another name")
    with _partial(target, source.stat().st_mode) as partial:
        try:
            _copy(source, partial, progress)
            position = _checked(partial)
        except sqlite3.Error as error:
            raise BackupError(f"{source} could not be copied to {target}: {error}") from error
        _sync(partial)
        partial.rename(target)
    _sync(target.parent)
    return position


def restore(source: Path, url: str, progress: Progress) -> int:
    """Restore a backup as the database of a URL, which must not exist; return the ledger's position in it.

    It begins a new epoch: cursors, page tokens and lease tokens from before are refused. The backup does not change.
    Raises BackupError.
    """
    target = _sqlite_file(
        url, "  pg_restore --clean --if-exists --dbname='{url}' jobledger.dump\n  jobledger-server new-epoch"
    )
    for name in (target, *beside(target)):
        if name.exists():
            raise BackupError(f"{name} exists: a database is restored to where there is none; move it away first")
    if not source.is_file():
        raise UnknownDatabaseError(f"{source} is not a file: there is nothing to restore")
    with _partial(target, source.stat().st_mode) as partial:
        try:
            _copy(source, partial, progress)
            _checked(partial)
            with closing(open_database(f"sqlite:///{partial}")) as database:
                upgrade(database)
                position = begin_epoch(database)
        except sqlite3.Error as error:
            raise BackupError(f"{source} could not be restored to {target}: {error}") from error
        _sync(partial)
        partial.rename(target)
    _sync(target.parent)
    return position


def _file(url: str) -> Path:
    file = _sqlite_file(url, "  pg_dump --format=custom --file=jobledger.dump '{url}'")
    if not file.is_file():
        raise UnknownDatabaseError(f"{file} is not a file: there is nothing to back up")
    return file


def _sqlite_file(url: str, instead: str) -> Path:
    """Return the file of an SQLite database; `instead` names the tool for PostgreSQL."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise UnknownDatabaseError(f"value {without_password(url)!r} must be a database URL") from None
    if parsed.get_backend_name() == "postgresql":
        plain = without_password(parsed._replace(drivername="postgresql", password=None).render_as_string())
        raise NotSqliteError(
            "PostgreSQL has its own back-ups, which are consistent while servers run. Use:\n"
            + instead.format(url=plain)
        )
    return Path(parsed.database or "")


def beside(file: Path) -> list[Path]:
    """Return the files that SQLite keeps beside a database, which may contain changes that are not in it."""
    return [file.with_name(file.name + end) for end in ("-wal", "-shm", "-journal")]


@contextmanager
def _partial(target: Path, mode: int) -> "Iterator[Path]":
    """Yield an empty file for the unfinished copy, readable like the database; remove it in the end.

    The copy contains webhooks' secrets like the database, so its mode does not depend on the umask.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.touch(0o600, exist_ok=False)
        partial.chmod(stat.S_IMODE(mode))
        yield partial
    except OSError as error:
        raise BackupError(f"{target} could not be written: {error.strerror}") from error
    finally:
        for name in (partial, partial.with_name(partial.name + ".lock"), *beside(partial)):
            name.unlink(missing_ok=True)


def _copy(source: Path, target: Path, progress: Progress) -> None:
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)) as reader,
        closing(sqlite3.connect(target)) as writer,
    ):
        # inside a reading transaction the copy is of one state; outside, each commit would restart it
        reader.execute("BEGIN")
        reader.execute("SELECT position FROM ledger").fetchone()
        reader.backup(
            writer, pages=PAGES_PER_STEP, progress=lambda _, remaining, total: progress(total - remaining, total)
        )


def _checked(copy: Path) -> int:
    with closing(sqlite3.connect(copy)) as connection:
        problems = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        if problems != ["ok"]:
            raise BackupError(f"the copy is damaged, and so may the database be: {'; '.join(problems[:3])}")
        position: int = connection.execute("SELECT position FROM ledger").fetchone()[0]
    return position


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
