"""The commands about API keys: `jobledger-server keys create`, `list`, `revoke` and `rotate`."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer
from jobledger.v1 import admin_service_pb2 as api
from jobledger_client import AdminCalls, JobClient, Role
from jobledger_client.cli import _json as json_output
from jobledger_client.cli import _parse as parse
from jobledger_client.cli._choices import choice
from jobledger_client.cli._connection_options import (
    PANEL,
    ApiKey,
    CaFile,
    CertFile,
    KeyFile,
    Output,
    Tls,
    credentials_of,
)

from jobledger_service.settings import SETTINGS

from .connection import open_client
from .exits import exit_on_error, refuse_unknown_names
from .key_database import client_of_database

cli = typer.Typer(rich_markup_mode=None)
keys = typer.Typer(
    name="keys",
    help="Create, list, revoke and rotate API keys, in a database or, with --target, through a running server.\n\n"
    "Only the server that has an SQLite database open can change it.",
    no_args_is_help=True,
)
cli.add_typer(keys)

_ROLES: Final = {role.name.lower().replace("_", "-"): role for role in Role}
_ROLE_NAMES: Final = {role: name for name, role in _ROLES.items()}
_FORM: Final = "%-13s %-16s %-20s %-24s %-24s %-24s %-24s %-20s %s"

Database = Annotated[
    str,
    typer.Option(envvar="JOBLEDGER_DATABASE", help="The database to use without --target.", rich_help_panel=PANEL),
]
Target = Annotated[str, typer.Option(metavar="HOST:PORT", help="A running server to use.", rich_help_panel=PANEL)]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="The output format.")]
KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id, as `list` shows it.")]

Reason = Annotated[str, typer.Option(metavar="TEXT", help="The reason, for the log of the server.")]


def _duration(word: str) -> timedelta | None:
    return parse.duration("", word)


Expires = Annotated[
    timedelta | None, typer.Option(parser=_duration, metavar="SPAN", help="How long the key is valid, such as 90d.")
]


@keys.callback()
def _connect(
    context: typer.Context,
    database: Database = str(SETTINGS["database"].default),
    target: Target = "",
    api_key: ApiKey = None,
    *,
    tls: Tls = None,
    ca_file: CaFile = None,
    cert_file: CertFile = None,
    key_file: KeyFile = None,
) -> None:
    refuse_unknown_names()
    if target:
        context.obj = open_client(target, api_key, credentials_of(ca_file, cert_file, key_file, tls=tls))
    else:
        context.obj = client_of_database(database)


@keys.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A name for people and the audit trail.")],
    role: Annotated[list[Role], choice(_ROLES, "A role of the key; may be repeated.")],
    owner: Annotated[
        str, typer.Option(help="The tenant whose jobs the key can access; without it that of the calling key.")
    ] = "",
    serves: Annotated[
        list[str] | None,
        typer.Option(help="A tenant whose chunks the key's workers may claim, in place of --owner's; may be repeated."),
    ] = None,
    *,
    serves_all: Annotated[
        bool, typer.Option("--serves-all", help="Let the key's workers claim all tenants' chunks.")
    ] = False,
    expires_in: Expires = None,
    reason: Reason = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Create a key and print its token, this one time.

    The first key: jobledger-server keys --database sqlite:///jobledger.db create operator --role admin
    """
    with _admin(context) as admin:
        made = admin.create_api_key(
            name,
            role,
            owner=owner,
            served_owners=serves or (),
            all_owners=serves_all,
            expire_time=_from_now(expires_in),
            reason=reason,
        )
    _print_new_key(made, output)


@keys.command("list")
def list_keys(
    context: typer.Context,
    owner: Annotated[str, typer.Option(help="List only this tenant's keys.")] = "",
    *,
    show_all: Annotated[bool, typer.Option("--all", help="Include keys that were revoked or have expired.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """List the keys, oldest first, without their tokens."""
    listed = api.ListApiKeysResponse()
    with _admin(context) as admin:
        listed.api_keys.extend(admin.list_api_keys(owner=owner, show_ended=show_all, page_size=500))
    if output is Output.JSON:
        json_output.print_message(listed)
    else:
        _print_table(listed.api_keys)


@keys.command()
def revoke(context: typer.Context, key_id: KeyId, reason: Reason = "", output: OutputOption = Output.TEXT) -> None:
    """Revoke a key; servers refuse it and end its watches within a second."""
    with _admin(context) as admin:
        key = admin.revoke_api_key(key_id, reason=reason)
    if output is Output.JSON:
        json_output.print_message(api.RevokeApiKeyResponse(api_key=key))
    else:
        typer.echo(f"{key.key_id} ({key.name}): revoked")


@keys.command()
def rotate(
    context: typer.Context,
    key_id: KeyId,
    grace: Annotated[
        timedelta | None,
        typer.Option(parser=_duration, metavar="SPAN", help="How long the old key stays valid. [default: 24h]"),
    ] = None,
    expires_in: Expires = None,
    reason: Reason = "",
    output: OutputOption = Output.TEXT,
) -> None:
    """Replace a key: create a new one, print its token this one time, and let the old one expire."""
    with _admin(context) as admin:
        made = admin.rotate_api_key(key_id, grace_period=grace, expire_time=_from_now(expires_in), reason=reason)
    _print_new_key(made, output)
    if output is Output.TEXT:
        typer.echo(f"{key_id}: works until {_time(made.replaced, 'expire_time')}", err=True)


@contextmanager
def _admin(context: typer.Context) -> Iterator[AdminCalls]:
    """Provide the calls of the server, or of the database, that the options name."""
    client: JobClient = context.obj
    with exit_on_error(), client:
        yield client.admin


def _from_now(duration: timedelta | None) -> datetime | None:
    if duration is None:
        return None
    try:
        return datetime.now(UTC) + duration
    except OverflowError:
        raise typer.BadParameter("--expires-in: ends after the year 9999") from None


def _print_new_key(made: api.CreateApiKeyResponse | api.RotateApiKeyResponse, output: Output) -> None:
    """Print the token alone on standard output, for scripts, and the rest for people beside it."""
    if output is Output.JSON:
        json_output.print_message(made)
        return
    key = made.api_key
    typer.echo(made.token)
    sys.stdout.flush()
    serves = f", serves {_served(key)}" if _served(key) else ""
    typer.echo(f"{key.key_id}: {key.name}, {_roles(key)} of {key.owner}{serves}; the key is not shown again", err=True)


def _print_table(keys_: Iterable[api.ApiKey]) -> None:
    typer.echo(_FORM % ("KEY ID", "OWNER", "ROLES", "CREATED", "LAST USED", "EXPIRES", "REVOKED", "NAME", "SERVES"))
    for key in keys_:
        times = [_time(key, name) for name in ("create_time", "last_used_time", "expire_time", "revoke_time")]
        typer.echo(_FORM % (key.key_id, key.owner, _roles(key), *times, key.name, _served(key)))


def _served(key: api.ApiKey) -> str:
    return "all owners" if key.all_owners else ",".join(key.served_owners)


def _roles(key: api.ApiKey) -> str:
    return ",".join(_ROLE_NAMES[Role(role)] for role in key.roles)


def _time(key: api.ApiKey, name: str) -> str:
    if not key.HasField(name):  # type: ignore[arg-type] # one of its times
        return ""
    return f"{getattr(key, name).ToDatetime(tzinfo=UTC).astimezone():%Y-%m-%d %H:%M:%S %Z}"
