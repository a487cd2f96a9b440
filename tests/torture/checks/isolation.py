"""Isolation: refused requests change nothing, and no owner reads or changes anything of another's."""

from collections.abc import Iterator

from tests.torture.checks import guarantee
from tests.torture.checks.durability import jobs_of
from tests.torture.history import Call, Fields, History

DEFECTS = {"INTERNAL", "UNKNOWN", "DATA_LOSS", "UNIMPLEMENTED"}


def creations_of(call: Call) -> Iterator[tuple[Fields, bool]]:
    """Yield the jobs that a call asks for, each with whether it may have been created."""
    if call.method == "CreateJob":
        yield call.request, call.may_have_happened
    elif call.method == "BatchCreateJobs":
        results = call.response.get("results") or [{}] * len(call.request["requests"])
        for request, result in zip(call.request["requests"], results, strict=True):
            yield request, call.may_have_happened and "error" not in result


@guarantee("3b.1 A refused request fails alone")
def refused_changes_nothing(history: History) -> Iterator[str]:
    asked: dict[tuple[str, str], bool] = {}
    for call in (call for call in history.calls if call.owner in history.owners):
        for request, may_be in creations_of(call):
            name = (call.owner, request.get("display_name", ""))
            asked[name] = asked.get(name, False) or may_be
    for event in history.events:
        if (
            event.owner not in history.owners
            or "CREATED" not in event.types
            or event.job["kind"].startswith("jobledger.")
        ):
            continue
        name = (event.owner, event.job.get("display_name", ""))
        if not asked.get(name):
            word = "was refused" if name in asked else "nobody has asked for"
            yield f"position {event.position} creates {event.job_id} ({name[1]}), which {word}"


@guarantee("3b.5 No call ends with a defect")
def no_defects(history: History) -> Iterator[str]:
    for call in history.calls:
        if call.code in DEFECTS and call.owner in history.owners:  # those of a hostile owner are among the defects
            yield f"{call.call_id} {call.owner} {call.method} ended with {call.code} {call.reason}"
    yield from history.defects


@guarantee("3b.8 Nothing of another owner's")
def nothing_of_others(history: History) -> Iterator[str]:
    for call in history.calls:
        if call.owner == "admin":
            continue
        if call.response.get("leak") or any(message.leak for message in call.messages):
            yield f"{call.call_id} {call.method} told {call.owner} a secret of another owner"
        owners = {job["owner"] for job in jobs_of(call)} | {message.owner for message in call.messages if message.uid}
        for owner in owners - {call.owner}:
            yield f"{call.call_id} {call.method} shows {call.owner} a job of {owner}"
    for event in history.events:
        if event.owner not in history.owners:
            continue
        for change in event.changes:
            actor = change.get("actor", "")
            if not actor.startswith(("jobledger", event.owner)):
                yield f"position {event.position} changes a job of {event.owner} for {actor}"
