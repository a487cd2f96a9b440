"""The values of options: states, orders and the like, shown in the help and completed by the shell."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

import typer

from jobledger_client._contract_enum import ContractEnum
from jobledger_client._generated._enums import ExportFormat, JobState, WebhookEventType
from jobledger_client.cli import _completion as completion
from jobledger_client.cli import _format as formatting

Member = TypeVar("Member", bound=ContractEnum)


def names(enum: type[Member]) -> dict[str, Member]:
    """Return the members of an enum by their names."""
    return {member.name: member for member in enum}


JOB_STATES: Final = names(JobState)
EVENT_TYPES: Final = {formatting.event_type(member): member for member in WebhookEventType}
FORMATS: Final = {"csv": ExportFormat.CSV, "jsonl": ExportFormat.JSON_LINES}


def member(choices: Mapping[str, Member], word: str, prefix: str = "") -> Member:
    """Return the member with this name, in upper or lower case; `prefix` begins the error's message."""
    for name, one in choices.items():
        if name.lower() == word.lower():
            return one
    raise typer.BadParameter(f"{prefix}must be one of {', '.join(choices)}; got {word!r}")


def choice(choices: Mapping[str, Member], text: str, *flags: str, panel: str | None = None) -> Any:  # noqa: ANN401 - typer's
    """Return an option whose value is one of `choices`, in upper or lower case."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in choices if name.lower().startswith(incomplete.lower())]

    return typer.Option(
        *flags,
        parser=lambda word: member(choices, word),
        autocompletion=complete,
        metavar="|".join(choices),
        help=text,
        rich_help_panel=panel,
    )


JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="The job.", autocompletion=completion.job_ids)]
OWNER = "Whose jobs, with an admin's key. [default: the key's own]"
Owner = Annotated[str, typer.Option("--owner", metavar="OWNER", help=OWNER)]
Uid = Annotated[
    str, typer.Option("--uid", metavar="UID", help="Only if it is this very job, as `get` shows it, with this JOB_ID.")
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="The reason, for people and the history.")]
Kinds = Annotated[
    list[str] | None,
    typer.Option(metavar="KIND", help="May be repeated. [default: all]", autocompletion=completion.kinds),
]
ServiceJobs = Annotated[
    bool | None, typer.Option("--service-jobs", help='Also the service\'s own jobs, of kinds "jobledger.…".')
]
