"""The options of a filter of jobs, the same for lists and for verbs over many jobs."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from jobledger_client._generated._enums import JobState
from jobledger_client.cli import _completion as completion
from jobledger_client.cli import _parse
from jobledger_client.cli._choices import JOB_STATES, OWNER, choice, member

if TYPE_CHECKING:
    from jobledger_client._requests import JobFilterFields

_PANEL = "Filter"
_Time = Literal["create_time", "schedule_time", "start_time", "update_time", "end_time"]
_SPANS: Final[tuple[tuple[_Time, str], ...]] = (
    ("create_time", "created"),
    ("schedule_time", "scheduled"),
    ("start_time", "started"),
    ("update_time", "updated"),
    ("end_time", "ended"),
)
_Field = Literal[
    "states", "kinds", "owner", "include_service_jobs", "task_id", "unique_key", "error_code", "has_labels"
]
_LISTS, _WHOLE = ("state", "kind", "where_label", "label_in", "has_label"), ("min_priority", "max_priority")
_SPAN = "TIME|DURATION"
_SINCE = "At or after this time, or at most this long ago (2h)."
_BEFORE = "Before this time, or longer ago."

_SERVICE_JOBS = "Also the service's own jobs, such as runs over many jobs. Their --kind selects them, too."
_FILTER = "Any of the following, such as state=FAILED, label.team=media or created-since=2h; repeat it, all must match."


def _option(kind: Any, metavar: str | None, text: str, *names: str, **more: Any) -> Any:  # noqa: ANN401 - what typer reads
    return Annotated[kind | None, typer.Option(*names, metavar=metavar, help=text, rich_help_panel=_PANEL, **more)]


_READS = {"service_jobs": _option(bool, None, _SERVICE_JOBS, "--service-jobs")}


def _declared(label: str) -> dict[str, Any]:
    return {
        "owner": _option(str, "OWNER", OWNER),
        "filter": _option(list[str], "NAME=VALUE", _FILTER),
        "state": Annotated[list[JobState] | None, choice(JOB_STATES, "May be repeated.", panel=_PANEL)],
        "kind": _option(list[str], "KIND", "May be repeated.", autocompletion=completion.kinds),
        "where_label": _option(list[str], "NAME=VALUE", "May be repeated; all must match.", label),
        "label_in": _option(list[str], "NAME=VALUE,VALUE", "A label with one of these values; may be repeated."),
        "has_label": _option(list[str], "NAME", "A label with any value; may be repeated."),
        "search": _option(str, "WORDS", "Words that begin words of its name, kind, id, labels or error."),
        "unique_key": _option(str, "KEY", "The key that it was created with."),
        "error_code": _option(str, "CODE", "The code of the error with which it failed."),
        "task": _option(str, "ID", "The id that an engine, such as Celery, gave an attempt; not for export."),
        "min_priority": _option(int, "N", "0 to 10."),
        "max_priority": _option(int, "N", "0 to 10."),
        "created_since": _option(str, _SPAN, _SINCE),
        "created_before": _option(str, _SPAN, _BEFORE),
        "scheduled_since": _option(str, _SPAN, _SINCE),
        "scheduled_before": _option(str, _SPAN, _BEFORE),
        "started_since": _option(str, _SPAN, _SINCE),
        "started_before": _option(str, _SPAN, _BEFORE),
        "updated_since": _option(str, _SPAN, _SINCE),
        "updated_before": _option(str, _SPAN, _BEFORE),
        "ended_since": _option(str, _SPAN, _SINCE),
        "ended_before": _option(str, _SPAN, _BEFORE),
    }


def add_filter_options(
    function: Callable[..., Any], *, label: str = "--label", since: str = "", reads: bool = False
) -> Callable[..., Any]:
    """Add the options of a filter to a function of (…, filter_fields); `label` is the name of the label option.

    `since` is the option for which --since is short. `filter_fields` are the fields for the SDK. Only `reads` may
    select the service's own jobs.
    """
    declared = _declared(label) | (_READS if reads else {})
    if since:
        declared[since] = _option(str, _SPAN, _SINCE, f"--{since.replace('_', '-')}", "--since")

    @functools.wraps(function)
    def with_filter(*args: Any, **parameters: Any) -> Any:  # noqa: ANN401 - typer calls it by the signature set below
        options = {name: parameters.pop(name) for name in declared}
        _add_filters(options.pop("filter") or (), options)
        return function(*args, filter_fields=_fields(label, options), **parameters)

    own_parameters = [
        parameter for name, parameter in inspect.signature(function).parameters.items() if name != "filter_fields"
    ]
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [inspect.Parameter(name, keyword, default=None, annotation=kind) for name, kind in declared.items()]
    with_filter.__signature__ = inspect.Signature([*own_parameters, *added])  # type: ignore[attr-defined] # inspect reads it
    return with_filter


def _add_filters(filters: Iterable[str], options: dict[str, Any]) -> None:
    """Add NAME=VALUE filters to the options with these names."""
    for name, value in (_name_and_value(word, options) for word in filters):
        if name == "service_jobs":
            options[name] = _parse.boolean("--filter", value)
        elif name in _LISTS:
            added = member(JOB_STATES, value, "--filter: state ") if name == "state" else value
            options[name] = [*(options[name] or ()), added]
        elif options[name] is not None:
            raise typer.BadParameter(f"--filter: {name.replace('_', '-')} must be given once")
        else:
            options[name] = _parse.integer("--filter", value) if name in _WHOLE else value


def _name_and_value(word: str, options: dict[str, Any]) -> tuple[str, str]:
    field, equals, value = word.partition("=")
    if not equals:
        raise typer.BadParameter(f"--filter: must be NAME=VALUE; got {word!r}")
    if field.startswith("label."):
        return "where_label", f"{field.removeprefix('label.')}={value}"
    name = field.replace("-", "_")
    if name not in options or name == "where_label":
        names = ", ".join(option.replace("_", "-") for option in options if option != "where_label")
        raise typer.BadParameter(f"--filter: NAME must be one of {names}, label.NAME; got {field!r}")
    return name, value


def _fields(label: str, options: dict[str, Any]) -> "JobFilterFields":
    fields: JobFilterFields = {}
    names: tuple[tuple[str, _Field], ...] = (
        ("state", "states"),
        ("kind", "kinds"),
        ("owner", "owner"),
        ("service_jobs", "include_service_jobs"),
        ("task", "task_id"),
        ("unique_key", "unique_key"),
        ("error_code", "error_code"),
        ("has_label", "has_labels"),
    )
    for option, field in names:
        if options.get(option):
            fields[field] = options[option]
    if options["where_label"]:
        fields["labels"] = _parse.pairs(label, options["where_label"])
    if options["label_in"]:
        among = _parse.pairs("--label-in", options["label_in"])
        fields["labels_in"] = {name: listed.split(",") for name, listed in among.items()}
    if options["search"] is not None:
        fields["search"] = _parse.non_empty("--search", options["search"])
    if options["min_priority"] is not None:
        fields["min_priority"] = options["min_priority"]
    if options["max_priority"] is not None:
        fields["max_priority"] = options["max_priority"]
    for name, word in _SPANS:
        since, before = options[f"{word}_since"], options[f"{word}_before"]
        if since is not None or before is not None:
            fields[name] = (_parse.past_time(f"--{word}-since", since), _parse.past_time(f"--{word}-before", before))
    return fields
