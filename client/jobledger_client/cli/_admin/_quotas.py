"""The commands for quotas of owners: `jobledger quotas …`."""

from typing import Annotated

import typer
from jobledger.v1.admin_service_pb2 import DeleteQuotaResponse, Quota

from jobledger_client.cli import _json, _tables
from jobledger_client.cli._choices import Reason
from jobledger_client.cli._pages import AllPages, PageToken, print_next_page, read_pages
from jobledger_client.cli._session import Session, command, new_app

Owner = Annotated[str, typer.Argument(metavar="OWNER", help="The owner.")]
ReadOwner = Annotated[str, typer.Argument(metavar="[OWNER]", help="The owner; without it that of the key.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = new_app()
    command(group, "list", "jobledger quotas list")(list_quotas)
    command(group, "get", "jobledger quotas get", "jobledger quotas get studio")(get_quota)
    command(group, "set", "jobledger quotas set studio --unfinished-jobs 10000 --stored-jobs 1000000")(set_quota)
    command(group, "delete", "jobledger quotas delete studio")(delete_quota)
    app.add_typer(group, name="quotas", help="Limit how many jobs, watches and bytes of artifacts an owner may have.")


def list_quotas(
    session: Session,
    *,
    page_size: Annotated[int, typer.Option(min=1, max=500, metavar="N", help="How many to show.")] = 100,
    page_token: PageToken = "",
    all_pages: AllPages = False,
) -> None:
    """List the quotas that were set, and how much of each its owner uses."""
    with session.client() as client:
        page = read_pages(client.admin.list_quotas(page_size=page_size, page_token=page_token), all_pages=all_pages)
    if session.as_json:
        _json.print_message(page)
    else:
        session.console.print(_tables.quotas(page.quotas))
        print_next_page(session, page.next_page_token)


def get_quota(session: Session, owner: ReadOwner = "") -> None:
    """Show the quota of an owner, and how much of it is used."""
    with session.client() as client:
        _print(session, client.admin.get_quota(owner))


def set_quota(
    session: Session,
    owner: Owner,
    *,
    unfinished_jobs: Annotated[int | None, typer.Option(metavar="N", help="How many jobs may be unfinished.")] = None,
    stored_jobs: Annotated[int | None, typer.Option(metavar="N", help="How many jobs there may be in all.")] = None,
    watches: Annotated[int | None, typer.Option(metavar="N", help="How many watches may be open at a server.")] = None,
    artifact_bytes: Annotated[int | None, typer.Option(metavar="N", help="How many bytes artifacts may have.")] = None,
    reason: Reason = "",
) -> None:
    """Set what an owner may have, in place of its old quota; the server's defaults apply to omitted bounds."""
    with session.client() as client:
        quota = client.admin.set_quota(
            owner,
            max_unfinished_jobs=unfinished_jobs,
            max_stored_jobs=stored_jobs,
            max_watches=watches,
            max_artifact_bytes=artifact_bytes,
            reason=reason,
        )
    _print(session, quota)


def delete_quota(session: Session, owner: Owner, *, reason: Reason = "") -> None:
    """Remove the quota of an owner, who then has the server's defaults."""
    with session.client() as client:
        deleted = client.admin.delete_quota(owner, reason=reason)
    if session.as_json:
        _json.print_message(DeleteQuotaResponse(deleted=deleted))
    else:
        print(f"{owner}: {'removed' if deleted else 'had no quota'}")


def _print(session: Session, quota: Quota) -> None:
    if session.as_json:
        _json.print_message(quota)
    else:
        session.console.print(_tables.quotas([quota]))
