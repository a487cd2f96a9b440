"""The command line of the server."""

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Annotated, Any

import typer
import uvloop
from pydantic import ValidationError

from . import logs
from .app import WrongSettingError, check_settings, serve
from .domain.errors import StoreUnavailable
from .rpc.server import CannotListenError
from .settings import Settings
from .store.engines import DatabaseInUseError, UnknownDatabaseError, open_database
from .store.migrate import SchemaError, check, upgrade
from .supervisor import supervise

cli = typer.Typer(
    name="jobledger-server",
    help="Jobledger: the system of record for long-running jobs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

CONFIGURATION = 78
"""Exit status of a server that was told something it cannot do (EX_CONFIG of sysexits.h)."""
UNAVAILABLE = 69
"""Exit status of a server whose database cannot be reached, which may pass (EX_UNAVAILABLE)."""


@cli.callback()
def _root() -> None:
    """Jobledger: the system of record for long-running jobs."""


def _option(field: str, *names: str) -> Any:  # noqa: ANN401  what typer takes
    described = Settings.model_fields[field]
    return typer.Option(
        *(names or ["--" + field.replace("_", "-")]),
        help=f"{described.description} [default: {described.default}]",
        envvar=f"JOBLEDGER_{field.upper()}",
        show_default=False,
    )


@cli.command("serve")
def serve_command(
    database: Annotated[str | None, _option("database", "--database")] = None,
    listen: Annotated[str | None, _option("listen", "--listen")] = None,
    processes: Annotated[int | None, _option("processes", "--processes")] = None,
    shared_port: Annotated[bool | None, _option("shared_port", "--shared-port")] = None,
    insecure: Annotated[bool | None, _option("insecure", "--insecure")] = None,
    bookmark_interval: Annotated[float | None, _option("bookmark_interval", "--bookmark-interval")] = None,
    duty_interval: Annotated[float | None, _option("duty_interval", "--duty-interval")] = None,
    retention_interval: Annotated[float | None, _option("retention_interval", "--retention-interval")] = None,
    event_retention: Annotated[float | None, _option("event_retention", "--event-retention")] = None,
    completed_retention: Annotated[float | None, _option("completed_retention", "--completed-retention")] = None,
    failed_retention: Annotated[float | None, _option("failed_retention", "--failed-retention")] = None,
    cancelled_retention: Annotated[float | None, _option("cancelled_retention", "--cancelled-retention")] = None,
    drain_timeout: Annotated[float | None, _option("drain_timeout", "--drain-timeout")] = None,
    queue_limit: Annotated[int | None, _option("queue_limit", "--queue-limit")] = None,
    allow_file_artifacts: Annotated[bool | None, _option("allow_file_artifacts", "--allow-file-artifacts")] = None,
    webhook_timeout: Annotated[float | None, _option("webhook_timeout")] = None,
    webhook_concurrency: Annotated[int | None, _option("webhook_concurrency")] = None,
    webhook_endpoint_concurrency: Annotated[int | None, _option("webhook_endpoint_concurrency")] = None,
    webhook_initial_backoff: Annotated[float | None, _option("webhook_initial_backoff")] = None,
    webhook_retry_window: Annotated[float | None, _option("webhook_retry_window")] = None,
    webhook_pause_after: Annotated[float | None, _option("webhook_pause_after")] = None,
    webhook_retention: Annotated[float | None, _option("webhook_retention")] = None,
    webhook_allow_http: Annotated[bool | None, _option("webhook_allow_http")] = None,
    webhook_allow_private_networks: Annotated[bool | None, _option("webhook_allow_private_networks")] = None,
    log_level: Annotated[str | None, _option("log_level", "--log-level")] = None,
    log_format: Annotated[str | None, _option("log_format", "--log-format")] = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C, then drain.

    Begin with: jobledger-server serve --database sqlite:///jobledger.db --listen 127.0.0.1:7070
    """
    given: dict[str, Any] = {name: value for name, value in locals().items() if value is not None}
    settings = _settings(given)
    logs.set_up(settings.log_level, settings.log_format)
    with _told():
        check_settings(settings)
        serving = supervise(settings, _ready) if settings.processes > 1 else serve(settings, _ready)
        raise typer.Exit(uvloop.run(serving))


@cli.command()
def migrate(
    database: Annotated[str | None, _option("database", "--database")] = None,
    *,
    check_only: Annotated[bool, typer.Option("--check", help="Only say whether the schema fits.")] = False,
) -> None:
    """Bring the database's schema to this version; with --check, exit with 1 if it is not.

    A server does this by itself on SQLite. On PostgreSQL, run it before the servers of a new version start.
    """
    given: dict[str, Any] = {"database": database} if database else {}
    settings = _settings(given)
    with _told(), closing(open_database(settings.database)) as opened:
        try:
            done = check(opened) if check_only else upgrade(opened)
        except SchemaError as error:
            _say(str(error))
            raise typer.Exit(1) from None
    typer.echo("the schema was brought to this version" if done else "the schema is of this version")


def _settings(given: dict[str, Any]) -> Settings:
    """Return the settings: what was given, else what the environment says; exit where either cannot be."""
    try:
        return Settings(**given)
    except ValidationError as error:
        for problem in error.errors():
            name = str(problem["loc"][0]).replace("_", "-")
            _say(f"--{name}: {problem['input']!r}: {problem['msg']}")
        raise typer.Exit(CONFIGURATION) from None


@contextmanager
def _told() -> Iterator[None]:
    """Tell what keeps a command from its work in one sentence, and exit with a status for it."""
    try:
        yield
    except (WrongSettingError, CannotListenError, DatabaseInUseError, UnknownDatabaseError, SchemaError) as error:
        _say(str(error))
        raise typer.Exit(CONFIGURATION) from None
    except StoreUnavailable as error:
        _say(f"{error} ({error.__cause__})")
        raise typer.Exit(UNAVAILABLE) from None


def _ready(address: str) -> None:
    print(f"jobledger listening on {address}", flush=True)  # noqa: T201


def _say(sentence: str) -> None:
    print(f"jobledger-server: {sentence}", file=sys.stderr)  # noqa: T201


def main() -> None:
    """Run the command line."""
    cli()
