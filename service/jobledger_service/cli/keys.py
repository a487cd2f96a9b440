"""The commands about API keys: `jobledger-server keys create`, `list`, `revoke` and `rotate`."""

import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1 import admin_service_pb2 as api

from jobledger_service.settings import Settings, seconds_of
from jobledger_service.transport.identity import DEFAULT_OWNER

from . import logs
from .connection import CONNECTION_PANEL, ApiKey, CaFile, CertFile, KeyFile, ServerConnection, Tls, credentials_of
from .exits import exit_on_error, refuse_unknown_names
from .key_backends import DatabaseKeyAdmin, KeyAdminBackend, ServerKeyAdmin

keys = typer.Typer(
    name="keys",
    help="Create, list, revoke and rotate API keys, in a database or, with --server, through a running server.\n\n"
    "Only the server that has an SQLite database open can change it.",
    no_args_is_help=True,
)

_FORM: Final = "%-13s %-16s %-20s %-24s %-24s %-24s %-24s %s"


class RoleName(StrEnum):
    """The role of a key."""

    CALLER = "caller"
    WORKER = "worker"
    ADMIN = "admin"


class Output(StrEnum):
    """The forms of an answer."""

    TEXT = "text"
    JSON = "json"


def _span(word: str) -> timedelta:
    try:
        return timedelta(seconds=seconds_of(word))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Database = Annotated[
    str,
    typer.Option(
        envvar="JOBLEDGER_DATABASE", help="The database to use without --server.", rich_help_panel=CONNECTION_PANEL
    ),
]
Server = Annotated[
    str, typer.Option(metavar="HOST:PORT", help="A running server to use.", rich_help_panel=CONNECTION_PANEL)
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="The output format.")]
KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id, as `list` shows it.")]
Expires = Annotated[
    timedelta | None, typer.Option(parser=_span, metavar="SPAN", help="How long the key is valid, such as 90d.")
]


@keys.callback()
def _place(
    context: typer.Context,
    database: Database = str(Settings.model_fields["database"].default),
    server: Server = "",
    api_key: ApiKey = "",
    *,
    tls: Tls = False,
    ca_file: CaFile = None,
    cert_file: CertFile = None,
    key_file: KeyFile = None,
) -> None:
    logs.set_up("warning", "auto")
    refuse_unknown_names()
    context.obj = DatabaseKeyAdmin(database)
    if server:
        credentials = credentials_of(ca_file, cert_file, key_file, tls=tls)
        context.obj = ServerKeyAdmin(ServerConnection(server, api_key, credentials))


@keys.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A name for people and the audit trail.")],
    role: Annotated[list[RoleName], typer.Option(help="A role of the key; may be repeated.")],
    owner: Annotated[str, typer.Option(help="The tenant whose jobs the key can access.")] = DEFAULT_OWNER,
    expires_in: Expires = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Create a key and print its token, this one time.

    The first key: jobledger-server keys --database sqlite:///jobledger.db create operator --role admin
    """
    roles = [api.Role.Value(f"ROLE_{one.upper()}") for one in role]
    request = api.CreateApiKeyRequest(name=name, owner=owner, roles=roles, expire_time=_from_now(expires_in))
    answer = _call(context, "CreateApiKey", request)
    if output is Output.JSON:
        _print_json(answer)
    else:
        _print_token(answer)


@keys.command("list")
def list_keys(
    context: typer.Context,
    owner: Annotated[str, typer.Option(help="List only this tenant's keys.")] = "",
    *,
    show_all: Annotated[bool, typer.Option("--all", help="Include keys that were revoked or have expired.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """List the keys, oldest first, without their tokens."""
    request = api.ListApiKeysRequest(owner=owner, show_ended=show_all, page_size=500)
    listed = api.ListApiKeysResponse()
    while True:
        page = _call(context, "ListApiKeys", request)
        listed.api_keys.extend(page.api_keys)
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    if output is Output.JSON:
        _print_json(listed)
    else:
        _print_table(listed.api_keys)


@keys.command()
def revoke(context: typer.Context, key_id: KeyId, output: OutputOption = Output.TEXT) -> None:
    """Revoke a key; servers refuse it and end its watches within a second."""
    answer = _call(context, "RevokeApiKey", api.RevokeApiKeyRequest(key_id=key_id))
    if output is Output.JSON:
        _print_json(answer)
    else:
        typer.echo(f"{answer.api_key.key_id} ({answer.api_key.name}): revoked")


@keys.command()
def rotate(
    context: typer.Context,
    key_id: KeyId,
    grace: Annotated[
        timedelta | None,
        typer.Option(parser=_span, metavar="SPAN", help="How long the old key stays valid. [default: 24h]"),
    ] = None,
    expires_in: Expires = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Replace a key: create a new one, print its token this one time, and let the old one expire."""
    request = api.RotateApiKeyRequest(key_id=key_id, expire_time=_from_now(expires_in))
    if grace is not None:
        request.grace_period.FromTimedelta(grace)
    answer = _call(context, "RotateApiKey", request)
    if output is Output.JSON:
        _print_json(answer)
    else:
        _print_token(answer)
        typer.echo(f"{key_id}: works until {_time(answer.replaced, 'expire_time')}", err=True)


def _call(context: typer.Context, method: str, request: Message) -> Any:  # noqa: ANN401  the method's answer
    backend: KeyAdminBackend = context.obj
    with exit_on_error():
        return backend.call(method, request)


def _from_now(span: timedelta | None) -> Timestamp | None:
    if span is None:
        return None
    moment = Timestamp()
    try:
        moment.FromDatetime(datetime.now(UTC) + span)
    except OverflowError:
        raise typer.BadParameter("--expires-in: ends after the year 9999") from None
    return moment


def _print_token(answer: Any) -> None:  # noqa: ANN401  of create or rotate
    """Print the token alone on standard output, for scripts, and the rest for people beside it."""
    key = answer.api_key
    typer.echo(answer.token)
    sys.stdout.flush()
    typer.echo(f"{key.key_id}: {key.name}, {_roles(key)} of {key.owner}; the key is not shown again", err=True)


def _print_json(answer: Message) -> None:
    typer.echo(MessageToJson(answer, always_print_fields_with_no_presence=True))


def _print_table(found: Iterable[api.ApiKey]) -> None:
    typer.echo(_FORM % ("KEY ID", "OWNER", "ROLES", "CREATED", "LAST USED", "EXPIRES", "REVOKED", "NAME"))
    for key in found:
        times = [_time(key, name) for name in ("create_time", "last_used_time", "expire_time", "revoke_time")]
        typer.echo(_FORM % (key.key_id, key.owner, _roles(key), *times, key.name))


def _roles(key: api.ApiKey) -> str:
    return ",".join(api.Role.Name(role).removeprefix("ROLE_").lower() for role in key.roles)


def _time(key: api.ApiKey, name: str) -> str:
    if not key.HasField(name):  # type: ignore[arg-type] # one of its times
        return ""
    return f"{getattr(key, name).ToDatetime(tzinfo=UTC).astimezone():%Y-%m-%d %H:%M:%S %Z}"
