"""The command `jobledger-server health`."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from jobledger_client import JobClient
from jobledger_client.cli import _parse as parse
from jobledger_client.cli._connection_options import ApiKey, CaFile, CertFile, KeyFile, Output, Tls, credentials_of

from jobledger_service.settings import InvalidSettingError, Settings

from .connection import open_client
from .exits import exit_on_error
from .health_report import HEALTHY, as_json, as_text
from .options import settings_of
from .own_tls import name_in

cli = typer.Typer(rich_markup_mode=None)


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
            client = _client_of_own_server(settings_of(), api_key, (ca_file, cert_file, key_file), timeout, tls=tls)
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
