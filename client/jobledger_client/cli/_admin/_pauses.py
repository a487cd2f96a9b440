"""The commands for paused kinds: `jobledger pause`, `resume` and `paused`."""

from typing import Annotated

import typer
from jobledger.v1.limit_service_pb2 import ListPausedKindsResponse, ResumeKindResponse

from jobledger_client import _limits as values
from jobledger_client.cli import _json, _tables
from jobledger_client.cli._choices import Owner, Reason
from jobledger_client.cli._session import Session, command

Kind = Annotated[str, typer.Argument(metavar="KIND", help="A kind of jobs.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "pause", 'jobledger pause audio.mix --reason "the disk is full"')(pause)
    command(app, "resume", "jobledger resume audio.mix")(resume)
    command(app, "paused", "jobledger paused")(paused)


def pause(
    session: Session,
    kind: Kind,
    *,
    reason: Reason = "",
    owner: Owner = "",
) -> None:
    """Keep workers from claiming chunks of a kind; chunks in work continue."""
    with session.client() as client:
        made = client.limits.pause_kind(kind, reason, owner=owner)
    if session.as_json:
        _json.print_message(values.paused_kind_message(made))
    else:
        print(f"{made.kind}: paused")


def resume(session: Session, kind: Kind, *, reason: Reason = "", owner: Owner = "") -> None:
    """End the pause of a kind."""
    with session.client() as client:
        resumed = client.limits.resume_kind(kind, reason=reason, owner=owner)
    if session.as_json:
        _json.print_message(ResumeKindResponse(resumed=resumed))
    else:
        print(f"{kind}: {'resumed' if resumed else 'was not paused'}")


def paused(session: Session, *, owner: Owner = "") -> None:
    """List the paused kinds: why, by whom, and since when."""
    with session.client() as client:
        paused_kinds = client.limits.list_paused_kinds(owner=owner)
    if session.as_json:
        _json.print_message(ListPausedKindsResponse(paused_kinds=map(values.paused_kind_message, paused_kinds)))
    else:
        session.console.print(_tables.paused_kinds(paused_kinds))
