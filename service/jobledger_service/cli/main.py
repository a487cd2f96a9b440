"""The command line of the server."""

import sys
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from jobledger_client import JobClient
from jobledger_client.cli import _parse as parse
from jobledger_client.cli._connection_options import ApiKey, CaFile, CertFile, KeyFile, Output, Tls, credentials_of
from pydantic import ValidationError

from jobledger_service import VERSION
from jobledger_service.core.store.backup import back_up, restore
from jobledger_service.core.store.engines import check_exists, open_database
from jobledger_service.core.store.epochs import begin_epoch
from jobledger_service.core.store.migrate import SchemaError, check, prepare, upgrade
from jobledger_service.core.store.recount import Recount
from jobledger_service.core.store.time_limits import UNLIMITED
from jobledger_service.settings import InvalidSettingError, Settings

from . import logs
from .configuration import ConfigFormat, masked, render
from .connection import open_client
from .exits import CONFIGURATION, exit_on_error, exit_status, log_and_exit, print_error, refuse_unknown_names
from .health_report import HEALTHY, as_json, as_text
from .keys import keys
from .options import flag, option, source_of, takes_settings
from .own_tls import name_in
from .startup_checks import check_ports_are_free, check_settings
from .supervisor import supervise

cli = typer.Typer(
    name="jobledger-server",
    help="Jobledger: the system of record for long-running jobs.",
    no_args_is_help=True,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

cli.add_typer(keys)


def _show_version(asked: bool | None) -> None:  # noqa: FBT001  typer calls it so
    if asked:
        typer.echo(f"jobledger-server {VERSION}")
        raise typer.Exit


Version = Annotated[
    bool | None, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
]


@cli.callback()
def _root(version: Version = None) -> None:  # noqa: ARG001  its callback has answered
    """Jobledger: the system of record for long-running jobs."""
    logs.set_up("warning", "auto")


@cli.command("serve")
@takes_settings
def serve_command(given: dict[str, Any]) -> None:
    """Serve until SIGTERM or Ctrl-C, then drain.

    Example: jobledger-server serve --database sqlite:///jobledger.db --listen 127.0.0.1:7070
    """
    settings = _settings(**given)
    logs.set_up(settings.log_level, settings.log_format)
    with exit_on_error():
        check_settings(settings)
        if settings.tracing and settings.processes == 1:
            _export_traces()
        from jobledger_service.app import serve  # noqa: PLC0415  what the server is made of takes half of the start

        if settings.processes == 1:
            check_ports_are_free(settings)
        serving = supervise(settings, _ready) if settings.processes > 1 else serve(settings, _ready)
        with log_and_exit():
            status = uvloop.run(serving)
        raise typer.Exit(status)


@cli.command("config")
@takes_settings
def config_command(
    context: typer.Context,
    given: dict[str, Any],
    output: Annotated[ConfigFormat, typer.Option("--output", "-o", help="How to print them.")] = ConfigFormat.TABLE,
) -> None:
    """Print the settings that `serve` would use with the same flags and environment, and the source of each.

    Passwords are masked. Example: jobledger-server config --output env
    """
    settings = _settings(**given)
    with exit_on_error():
        check_settings(settings)
    sources = {name: source_of(context, name) for name in type(settings).model_fields}
    typer.echo(render(settings, sources, output))


@cli.command()
def migrate(
    database: Annotated[str | None, option("database")] = None,
    *,
    check_only: Annotated[bool, typer.Option("--check", help="Only check whether the schema is current.")] = False,
) -> None:
    """Upgrade the database's schema to this version; with --check, exit with 1 if it is not current.

    On SQLite a server does this when it starts. On PostgreSQL, run it before you start servers of a new version.
    """
    settings = _settings(database=database)
    with exit_on_error(), closing(open_database(settings.database, UNLIMITED)) as opened:
        try:
            done = check(opened) if check_only else upgrade(opened)
        except SchemaError as error:
            print_error(str(error))
            raise typer.Exit(1) from None
    typer.echo("the schema was upgraded to this version" if done else "the schema is up to date")


@cli.command("backup")
def backup_command(
    file: Annotated[Path, typer.Argument(help="Where to write the copy; it must not exist yet.")],
    database: Annotated[str | None, option("database")] = None,
) -> None:
    """Back up an SQLite database to a file; a server may be writing to it.

    The backup is a consistent snapshot. It is verified, and appears under its name only when it is complete.
    Example: jobledger-server backup jobledger-backup.db
    """
    settings = _settings(database=database)
    with exit_on_error():
        position = back_up(settings.database, file, _Progress())
    typer.echo(f"{file} holds the ledger up to position {position}")


@cli.command("recount")
def recount_command(database: Annotated[str | None, option("database")] = None) -> None:
    """Rebuild the counts of jobs, the words of searches and the counts of limits from the jobs.

    It prints a line for each derived table, also for those that cannot be derived again.

    On PostgreSQL servers may keep running; on SQLite stop the server first.
    """
    settings = _settings(database=database)
    with exit_on_error():
        check_exists(settings.database)
        with closing(open_database(settings.database, UNLIMITED)) as opened:
            prepare(opened)
            done = Recount(opened, partial(typer.echo, err=True)).run()
    for line in done.lines():
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
    settings = _settings(database=database)
    with exit_on_error():
        position = restore(file, settings.database, _Progress())
    typer.echo(f"{settings.database} holds the ledger up to position {position}, in a new epoch")


@cli.command("new-epoch")
def new_epoch_command(database: Annotated[str | None, option("database")] = None) -> None:
    """Begin a new epoch in a database that was restored by other means, such as pg_restore; no server may run on it.

    Cursors, page tokens and lease tokens from before are refused from then on.
    """
    settings = _settings(database=database)
    with exit_on_error():
        check_exists(settings.database)
        with closing(open_database(settings.database, UNLIMITED)) as opened:
            prepare(opened)
            position = begin_epoch(opened)
    typer.echo(f"a new epoch begins after position {position}")


class _Progress:
    """Shows how much was copied, a line for each tenth."""

    def __init__(self) -> None:
        self._shown = -1

    def __call__(self, copied: int, pages: int) -> None:
        tenth = copied * 10 // max(pages, 1)
        if tenth > self._shown:
            self._shown = tenth
            typer.echo(f"{tenth * 10:3} %  {copied:,} of {pages:,} pages", err=True)


@cli.command("health")
def health_command(
    target: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="The server. [default: where `serve` would listen]")
    ] = None,
    timeout: Annotated[
        timedelta, typer.Option(parser=parse.timeout, metavar="SPAN", help="How long to wait for an answer.")
    ] = timedelta(seconds=5),
    api_key: ApiKey = None,
    *,
    tls: Tls = None,
    ca_file: CaFile = None,
    cert_file: CertFile = None,
    key_file: KeyFile = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="How to print it.")] = Output.TEXT,
) -> None:
    """Show a running server's health; exit with 0 when healthy, 1 when not, 69 when unreachable, 75 after --timeout.

    A server with API keys answers admins only; exit with 77 for others. Without --target it asks the server with the
    same settings, over TLS when it has a certificate, which is then trusted by itself.
    """
    with exit_on_error():
        if target:
            credentials = credentials_of(ca_file, cert_file, key_file, tls=tls)
            client = open_client(target, api_key, credentials, timeout=timeout)
        else:
            client = _client_of_own_server(_settings(), api_key, (ca_file, cert_file, key_file), timeout, tls=tls)
        with client:
            health = client.admin.get_system_health()
    typer.echo(as_json(health) if output is Output.JSON else as_text(health))
    raise typer.Exit(int(health.status != HEALTHY))


def _client_of_own_server(
    settings: Settings,
    api_key: str | None,
    files: tuple[Path | None, Path | None, Path | None],
    timeout: timedelta,
    *,
    tls: bool | None,
) -> JobClient:
    """Return a client for where `serve` would listen, over TLS if it has a certificate, which is then trusted."""
    ca_file, cert_file, key_file = files
    name = ""
    if settings.tls_cert and settings.tls_key and not ca_file:
        ca_file, name = settings.tls_cert, name_in(settings.tls_cert, settings.tls_key)
    if settings.tls_client_ca and not cert_file:
        raise InvalidSettingError(
            "--tls-client-ca: the server requires a client certificate: set --cert-file and --key-file"
        )
    credentials = credentials_of(ca_file, cert_file, key_file, tls=tls)
    return open_client(_reachable(settings.listen), api_key, credentials, name=name, timeout=timeout)


def _reachable(listen: str) -> str:
    """Return where to call a server that listens there: one on all addresses is on the loopback one too."""
    host, _, port = listen.rpartition(":")
    return {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host) + f":{port}"  # noqa: S104  it is not bound to


def _settings(**given: Any) -> Settings:  # noqa: ANN401  the settings check their values
    """Return the settings: what was given, else what the environment says; exit where either cannot be."""
    refuse_unknown_names()
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        for problem in error.errors():
            name = str(problem["loc"][0])
            value, rule = repr(masked(name, problem["input"])), problem["msg"].removeprefix("Value error, ")
            print_error(f"{flag(name)}: {rule}" if value in rule else f"{flag(name)}: {value}: {rule}")
        raise typer.Exit(CONFIGURATION) from None


def _export_traces() -> None:
    try:
        from jobledger_service.transport.tracing import export  # noqa: PLC0415  an extra
    except ImportError as error:
        raise InvalidSettingError(
            f"--tracing needs the extra: pip install 'jobledger-service[otel]' ({error})"
        ) from None
    export()


def _ready(address: str) -> None:
    print(f"jobledger listening on {address}", flush=True)  # noqa: T201


def main() -> None:
    """Run the command line."""
    command = typer.main.get_command(cli)
    sys.exit(exit_status(lambda: command.main(prog_name="jobledger-server", standalone_mode=False)))
