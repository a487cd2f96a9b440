"""The commands for concurrency limits: `jobledger limits …`."""

from typing import Annotated

import typer
from jobledger.v1.limit_service_pb2 import ListLimitsResponse

from jobledger_client import _limits as values
from jobledger_client.cli import _json, _parse, _tables
from jobledger_client.cli._choices import Owner, Reason
from jobledger_client.cli._session import Session, command, new_app

Kind = Annotated[str, typer.Option("--kind", metavar="KIND", help="All jobs of this kind.")]
Label = Annotated[str, typer.Option("--label", metavar="NAME=VALUE", help="The jobs limited by this value of a label.")]
Each = Annotated[str, typer.Option("--each", metavar="NAME", help="Each value of this label by itself.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = new_app()
    command(group, "list", "jobledger limits list")(list_limits)
    command(
        group,
        "set",
        "jobledger limits set --kind audio.mix 2",
        "jobledger limits set --label user=ann 4",
        "jobledger limits set --each user 2",
    )(set_limit)
    command(group, "delete", "jobledger limits delete --kind audio.mix")(delete_limit)
    app.add_typer(group, name="limits", help="Limit how many jobs of a kind or a label may run at once.")


def list_limits(session: Session, *, owner: Owner = "") -> None:
    """List the limits, each with its running and waiting jobs."""
    with session.client() as client:
        limits = client.limits.list_limits(owner=owner)
    if session.as_json:
        _json.print_message(ListLimitsResponse(limits=map(values.limit_message, limits)))
    else:
        session.console.print(_tables.limits(limits))


def set_limit(
    session: Session,
    max_running: Annotated[int, typer.Argument(metavar="N", help="How many jobs may run at once; 0 pauses them.")],
    *,
    kind: Kind = "",
    label: Label = "",
    each: Each = "",
    reason: Reason = "",
    owner: Owner = "",
) -> None:
    """Set or change a limit. Jobs that hold a slot keep it."""
    scope = _scope(kind, label, each)
    with session.client() as client:
        limit = client.limits.set_limit(scope, max_running, reason=reason, owner=owner)
    if session.as_json:
        _json.print_message(values.limit_message(limit))
    else:
        print(f"{limit.scope}: at most {limit.max_running} at once")


def delete_limit(
    session: Session, *, kind: Kind = "", label: Label = "", each: Each = "", reason: Reason = "", owner: Owner = ""
) -> None:
    """Remove a limit; jobs waiting for it become claimable."""
    scope = _scope(kind, label, each)
    with session.client() as client:
        client.limits.delete_limit(scope, reason=reason, owner=owner)


def _scope(kind: str, label: str, each: str) -> values.LimitScope:
    if sum(map(bool, (kind, label, each))) != 1:
        raise typer.BadParameter("one of --kind, --label and --each is required")
    if label:
        [(name, value)] = _parse.pairs("--label", [label]).items()
        return values.for_label(name, value)
    return values.for_kind(kind) if kind else values.for_each(each)
