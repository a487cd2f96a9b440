"""The command `jobledger-server health`."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToJson
from jobledger.v1 import system_health_pb2 as api
from jobledger_client import JobClient, SystemStatus
from jobledger_client.cli import _parse as parse
from jobledger_client.cli._connection_options import ApiKey, CaFile, CertFile, KeyFile, Output, Tls, credentials_of

from jobledger_service.settings import InvalidSettingError, Settings

from .connection import name_in, open_client
from .exits import exit_on_error
from .options import settings_of

HEALTHY = SystemStatus.HEALTHY

cli = typer.Typer(rich_markup_mode=None)


def as_text(health: api.SystemHealth) -> str:
    """Return the findings as lines for people."""
    database, committer, feed = health.database, health.committer, health.feed
    status = SystemStatus(health.status).name.lower()
    lines = [status, *(f"  {reason}" for reason in health.reasons), ""]
    up = (health.check_time.ToMicroseconds() - health.start_time.ToMicroseconds()) / 1e6
    rows = [("version", f"{health.version}, up for {up:,.0f} s")]
    if database.reachable:
        rows += [
            ("database", f"{database.kind}, schema {database.schema_version}, answers in {_seconds(database.latency)}"),
            ("size", f"{database.size_bytes:,} bytes"),
        ]
    else:
        rows.append(("database", f"{database.kind}, does not answer"))
    if database.HasField("disk_free_bytes"):
        rows.append(("disk", f"{database.disk_free_bytes:,} bytes free"))
    rows += [
        ("label index", f"{index.name}, {'ready' if index.ready else 'not ready: run `jobledger-server migrate`'}")
        for index in database.label_indexes
    ]
    rows.append(("writes", f"{committer.queued:,} of {committer.queue_limit:,} wait"))
    if committer.HasField("last_commit_age"):
        took = _seconds(committer.last_commit_duration)
        rows.append(
            ("last commit", f"{committer.last_batch_size} in {took}, {committer.last_commit_age.ToSeconds():,} s ago")
        )
    rows += [
        ("feed", f"at {feed.position:,}, {feed.lag:,} behind, {feed.watchers:,} watchers"),
        ("workers", f"{health.active_workers:,} active"),
    ]
    if health.webhooks.pending:
        age = health.webhooks.oldest_age.ToSeconds()
        rows.append(("webhooks", f"{health.webhooks.pending:,} deliveries wait, the oldest for {age:,} s"))
    if health.webhooks.dead:
        rows.append(("webhooks", f"{health.webhooks.dead:,} deliveries are dead"))
    rows += [("component", f"{component.name}: {_state(component)}") for component in health.components]
    rows += [("replica", f"{replica.name}, version {replica.version}") for replica in health.replicas]
    return "\n".join([*lines, *(f"{name:12} {value}" for name, value in rows)])


def _state(component: api.ComponentHealth) -> str:
    if not component.HasField("check_time"):
        return "not checked yet"
    return f"{component.problem or 'works'}, at {component.check_time.ToJsonString()}"


def _seconds(duration: Duration) -> str:
    return f"{duration.ToMicroseconds() / 1000:.1f} ms"


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
    if output is Output.JSON:  # with the names of the contract
        typer.echo(MessageToJson(health, preserving_proto_field_name=True, always_print_fields_with_no_presence=True))
    else:
        typer.echo(as_text(health))
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
