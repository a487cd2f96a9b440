"""The options that pick jobs: the same for a list and for what is done with many."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from jobledger_client.cli import _completion as completion
from jobledger_client.cli import _parse
from jobledger_client.cli._choices import JobStateName, choice

if TYPE_CHECKING:
    from jobledger_client._requests import JobFilterFields

_PANEL = "Which jobs"
OWNER = "Whose jobs, with an admin's key. [default: the key's own]"
_SPANS: Final[tuple[tuple[Literal["create_time", "update_time", "end_time"], str], ...]] = (
    ("create_time", "created"),
    ("update_time", "updated"),
    ("end_time", "ended"),
)
_Field = Literal["states", "kinds", "owner", "include_service_jobs"]
_LISTS, _WHOLE = ("state", "kind", "where_label"), ("min_priority", "max_priority")
_SINCE = "At or after this time, or at most this long ago (2h)."
_BEFORE = "Before this time, or longer ago."

_SERVICE_JOBS = "Also the service's own jobs, such as runs over many jobs. Naming their --kind shows them too."
_FILTER = "Any of the following, such as state=FAILED, label.team=media or created-since=2h; repeat it, all must match."


def _option(kind: Any, metavar: str | None, text: str, *names: str, **more: Any) -> Any:  # noqa: ANN401 - what typer reads
    return Annotated[kind | None, typer.Option(*names, metavar=metavar, help=text, rich_help_panel=_PANEL, **more)]


_READS = {
    "owner": _option(str, "OWNER", OWNER),
    "service_jobs": _option(bool, None, _SERVICE_JOBS, "--service-jobs"),
}


def _declared(label: str) -> dict[str, Any]:
    span = "TIME|SPAN"
    return {
        "filter": _option(list[str], "NAME=VALUE", _FILTER),
        "state": Annotated[list[JobStateName] | None, choice(JobStateName, "May be repeated.", panel=_PANEL)],
        "kind": _option(list[str], "KIND", "May be repeated.", autocompletion=completion.kinds),
        "where_label": _option(list[str], "NAME=VALUE", "May be repeated; all must match.", label),
        "search": _option(str, "WORDS", "Words that begin words of its name, kind, labels or error."),
        "min_priority": _option(int, "N", "0 to 10."),
        "max_priority": _option(int, "N", "0 to 10."),
        "created_since": _option(str, span, _SINCE),
        "created_before": _option(str, span, _BEFORE),
        "updated_since": _option(str, span, _SINCE),
        "updated_before": _option(str, span, _BEFORE),
        "ended_since": _option(str, span, _SINCE),
        "ended_before": _option(str, span, _BEFORE),
    }


def add_filter(function: Callable[..., Any], *, label: str = "--label", reads: bool = False) -> Callable[..., Any]:
    """Give a function of (…, wanted) the options of a filter as parameters of its own; `label` is what one is called.

    `wanted` are the fields that were given, for the SDK. What only `reads` may be of another owner.
    """
    declared = _declared(label) | (_READS if reads else {})

    @functools.wraps(function)
    def with_filter(*args: Any, **given: Any) -> Any:  # noqa: ANN401 - typer calls it by the signature set below
        options = {name: given.pop(name) for name in declared}
        _take_apart(options.pop("filter") or (), options)
        return function(*args, wanted=_fields(label, options), **given)

    own = [parameter for name, parameter in inspect.signature(function).parameters.items() if name != "wanted"]
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [inspect.Parameter(name, keyword, default=None, annotation=kind) for name, kind in declared.items()]
    with_filter.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined] # inspect reads it
    return with_filter


def _take_apart(words: Iterable[str], options: dict[str, Any]) -> None:
    """Put NAME=VALUE words where the options of these names have theirs."""
    for name, value in (_name_and_value(word, options) for word in words):
        if name == "service_jobs":
            options[name] = _parse.truth("--filter", value)
        elif name in _LISTS:
            options[name] = [*(options[name] or ()), value]
        elif options[name] is not None:
            raise typer.BadParameter(f"--filter: {name.replace('_', '-')} is given twice")
        else:
            options[name] = _parse.whole("--filter", value) if name in _WHOLE else value


def _name_and_value(word: str, options: dict[str, Any]) -> tuple[str, str]:
    given, equals, value = word.partition("=")
    if not equals:
        raise typer.BadParameter(f"--filter: {word!r} is not NAME=VALUE")
    if given.startswith("label."):
        return "where_label", f"{given.removeprefix('label.')}={value}"
    name = given.replace("-", "_")
    if name not in options or name == "where_label":
        names = (one.replace("_", "-") for one in options if one != "where_label")
        raise typer.BadParameter(f"--filter: {given!r} is none of {', '.join(names)} and label.NAME")
    return name, value


def _fields(label: str, given: dict[str, Any]) -> "JobFilterFields":
    fields: JobFilterFields = {}
    names: tuple[tuple[str, _Field], ...] = (
        ("state", "states"),
        ("kind", "kinds"),
        ("owner", "owner"),
        ("service_jobs", "include_service_jobs"),
    )
    for option, field in names:
        if given.get(option):
            fields[field] = given[option]
    if given["where_label"]:
        fields["labels"] = _parse.pairs(label, given["where_label"])
    if given["search"] is not None:
        fields["search"] = _parse.something("--search", given["search"])
    if given["min_priority"] is not None:
        fields["min_priority"] = given["min_priority"]
    if given["max_priority"] is not None:
        fields["max_priority"] = given["max_priority"]
    for name, word in _SPANS:
        since, before = given[f"{word}_since"], given[f"{word}_before"]
        if since is not None or before is not None:
            fields[name] = (_parse.moment(f"--{word}-since", since), _parse.moment(f"--{word}-before", before))
    return fields
