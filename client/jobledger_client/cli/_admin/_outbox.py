"""The commands for the outbox of a database: `jobledger outbox …`."""

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from jobledger_client.cli import _json, _tables
from jobledger_client.cli._error_output import print_sentence
from jobledger_client.cli._exit_codes import MISSING_EXTRA
from jobledger_client.cli._session import Session, command, new_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

Database = Annotated[
    str,
    typer.Option(
        metavar="URL",
        envvar="JOBLEDGER_OUTBOX_DATABASE",
        help="The database that has the outbox, as SQLAlchemy names it: postgresql+psycopg://…",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the group and its commands."""
    group = new_app()
    command(group, "relay", "jobledger outbox relay --database postgresql+psycopg://shop@db/shop")(relay)
    command(group, "list", "jobledger outbox list --database sqlite:///shop.db")(list_rows)
    command(
        group,
        "retry",
        "jobledger outbox retry --database sqlite:///shop.db 17 18",
        "jobledger outbox retry --database sqlite:///shop.db --all",
    )(retry)
    app.add_typer(group, name="outbox", help="Create the jobs of your own transactions.", no_args_is_help=True)


def relay(
    session: Session,
    *,
    database: Database,
    metrics_port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Serve metrics on this port; needs prometheus-client.")
    ] = None,
) -> None:
    """Send the rows of an outbox to the server until SIGTERM; it waits for both of them."""
    with _engine(database) as engine:
        from jobledger_client.outbox import Relay  # noqa: PLC0415 - the extra

        if metrics_port is not None:
            _serve_metrics(metrics_port)
        logging.basicConfig(level=logging.WARNING, format="jobledger: %(message)s")
        session.print_note(f"relaying jobledger_outbox of {engine.url.render_as_string()} to {session.target}")
        Relay(engine, session.target, **session.connection_options()).run()


def list_rows(
    session: Session,
    *,
    database: Database,
    all_rows: Annotated[bool, typer.Option("--all", help="List the rows that wait, too.")] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="The most rows to list.")] = 100,
) -> None:
    """List the rows that the server refused, with the reasons."""
    with _engine(database) as engine, engine.begin() as connection:
        from jobledger_client import outbox  # noqa: PLC0415 - the extra

        rows = outbox.list_rows(connection, refused_only=not all_rows, limit=limit)
    if session.as_json:
        _json.print_value(
            [
                {
                    "position": row.position,
                    "request": _json.to_value(row.request),
                    "createTimeMillis": row.create_time,
                    "attempts": row.attempts,
                    "refused": row.refused,
                    "reason": row.reason,
                    "message": row.message,
                }
                for row in rows
            ]
        )
    else:
        session.console.print(_tables.outbox_rows(rows))


def retry(
    session: Session,
    positions: Annotated[list[int] | None, typer.Argument(metavar="POSITION…", help="The rows.")] = None,
    *,
    database: Database,
    all_rows: Annotated[bool, typer.Option("--all", help="Retry all refused rows.")] = False,
) -> None:
    """Let a relay send refused rows again."""
    if all_rows == bool(positions):
        raise typer.BadParameter("pass positions, or --all")
    with _engine(database) as engine, engine.begin() as connection:
        from jobledger_client import outbox  # noqa: PLC0415 - the extra

        count = outbox.retry_rows(connection, None if all_rows else positions)
    if session.as_json:
        _json.print_value({"retried": count})
    else:
        print(f"{count:,} row{'' if count == 1 else 's'} will be sent again")


@contextmanager
def _engine(database: str) -> "Iterator[Engine]":
    """Yield an engine; an error of the database is an OSError."""
    try:
        from sqlalchemy import create_engine, exc  # noqa: PLC0415 - the extra
    except ModuleNotFoundError:
        _exit_without("jobledger-client[outbox]")
    try:
        engine = create_engine(database)
    except exc.ArgumentError as error:
        raise typer.BadParameter(f"--database: {error}") from error
    except ModuleNotFoundError as error:
        _exit_without(error.name or str(error))
    try:
        yield engine
    except exc.SQLAlchemyError as error:
        raise OSError(str(getattr(error, "orig", None) or error)) from error
    finally:
        engine.dispose()


def _serve_metrics(port: int) -> None:
    try:
        from prometheus_client import start_http_server  # noqa: PLC0415 - optional
    except ModuleNotFoundError:
        _exit_without("prometheus-client")
    start_http_server(port)


def _exit_without(package: str) -> NoReturn:
    print_sentence(f"this command needs a package: pip install '{package}'")
    raise typer.Exit(MISSING_EXTRA)
