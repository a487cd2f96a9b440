"""The commands about a database: `migrate`, `backup`, `recount`, `restore` and `new-epoch`."""

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from jobledger_service.core.api.codec import ProtoCodec
from jobledger_service.core.database.engines import Database, check_exists, open_database
from jobledger_service.core.database.label_indexes import are_indexed, index_labels
from jobledger_service.core.database.maintenance.backup import back_up, restore
from jobledger_service.core.database.maintenance.epochs import begin_epoch
from jobledger_service.core.database.maintenance.migrate import SchemaError, check, prepare, upgrade
from jobledger_service.core.database.maintenance.recount import Recount
from jobledger_service.core.database.time_limits import UNLIMITED
from jobledger_service.core.database.unreadable_rows import UnreadableRows
from jobledger_service.core.opening import indexed_labels_of

from .exits import exit_on_error, print_error
from .options import option, settings_of

cli = typer.Typer(rich_markup_mode=None)


@cli.command()
def migrate(
    database: Annotated[str | None, option("database")] = None,
    indexed_labels: Annotated[str | None, option("indexed_labels")] = None,
    *,
    check_only: Annotated[bool, typer.Option("--check", help="Only check whether there is anything to do.")] = False,
) -> None:
    """Upgrade the database's schema to this version, and index labels; with --check, exit with 1 if either is due.

    On SQLite stop the server first; it upgrades the schema itself when it starts. On PostgreSQL, run it before you
    start servers of a new version; servers may keep running.
    """
    settings = settings_of(database=database, indexed_labels=indexed_labels)
    with exit_on_error():
        names = indexed_labels_of(settings)
        with closing(open_database(settings.database, UNLIMITED)) as opened:
            try:
                done = check(opened) if check_only else upgrade(opened)
            except SchemaError as error:
                print_error(str(error))
                raise typer.Exit(1) from None
        typer.echo("the schema was upgraded to this version" if done else "the schema is up to date")
        with closing(open_database(settings.database)) as opened:
            _index_labels(opened, names, check_only=check_only)


def _index_labels(database: Database, names: Sequence[str] | None, *, check_only: bool) -> None:
    if are_indexed(database, names):
        return
    if check_only:
        print_error("labels are not indexed as the settings say: run `jobledger-server migrate` first")
        raise typer.Exit(1)
    index_labels(database, names, _Progress("jobs"))
    typer.echo("labels are indexed")


@cli.command("backup")
def backup_command(
    file: Annotated[Path, typer.Argument(help="Where to write the copy; it must not exist yet.")],
    database: Annotated[str | None, option("database")] = None,
) -> None:
    """Back up an SQLite database to a file; a server may be writing to it.

    The backup is a consistent snapshot. It is verified, and appears under its name only when it is complete.
    Example: jobledger-server backup jobledger-backup.db
    """
    settings = settings_of(database=database)
    with exit_on_error():
        position = back_up(settings.database, file, _Progress("pages"))
    typer.echo(f"{file} holds the ledger up to position {position}")


@cli.command("recount")
def recount_command(database: Annotated[str | None, option("database")] = None) -> None:
    """Rebuild what is derived from jobs and events: counts, words of searches, and the indexes of events and labels.

    It prints a line for each derived table, also for those that cannot be derived again.

    On PostgreSQL servers may keep running; on SQLite stop the server first.
    """
    from jobledger_service.app import DERIVED_TABLES  # noqa: PLC0415  features take a tenth of the other commands' start

    settings = settings_of(database=database)
    with exit_on_error():
        check_exists(settings.database)
        with closing(open_database(settings.database, UNLIMITED)) as opened:
            prepare(opened)
            terms = ProtoCodec(UnreadableRows()).terms
            recount = Recount(opened, partial(typer.echo, err=True), terms, DERIVED_TABLES)
            done = recount.run()
    for line in recount.lines():
        typer.echo(line)
    if done.unreadable:
        print_error(f"{done.unreadable:,} jobs cannot be read: the log names them; their words were left unchanged")


@cli.command("restore")
def restore_command(
    file: Annotated[Path, typer.Argument(help="The backup; it is not modified.")],
    database: Annotated[str | None, option("database")] = None,
) -> None:
    """Restore an SQLite database from a backup, where none exists, and begin a new epoch.

    Cursors, page tokens and lease tokens from before the restore are refused from then on.
    Example: jobledger-server restore jobledger-backup.db --database sqlite:///jobledger.db
    """
    settings = settings_of(database=database)
    with exit_on_error():
        position = restore(file, settings.database, _Progress("pages"))
    typer.echo(f"{settings.database} holds the ledger up to position {position}, in a new epoch")


@cli.command("new-epoch")
def new_epoch_command(database: Annotated[str | None, option("database")] = None) -> None:
    """Begin a new epoch in a database that was restored by other means, such as pg_restore; no server may run on it.

    Cursors, page tokens and lease tokens from before are refused from then on.
    """
    settings = settings_of(database=database)
    with exit_on_error():
        check_exists(settings.database)
        with closing(open_database(settings.database, UNLIMITED)) as opened:
            prepare(opened)
            position = begin_epoch(opened)
    typer.echo(f"a new epoch begins after position {position}")


class _Progress:
    """Shows how much was done, a line for each tenth."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._shown = -1

    def __call__(self, done: int, total: int) -> None:
        tenth = done * 10 // max(total, 1)
        if tenth > self._shown:
            self._shown = tenth
            typer.echo(f"{tenth * 10:3} %  {done:,} of {total:,} {self._unit}", err=True)
