"""Durability: what was acknowledged is in the ledger, once, and every later read shows it."""

from collections.abc import Iterator
from itertools import pairwise

from tests.torture.checks import guarantee
from tests.torture.checks.watches import is_shown
from tests.torture.checks.workers import claims_in_ledger, completions_of, leases_of
from tests.torture.history import Call, Fields, History

CREATIONS = ("CreateJob", "BatchCreateJobs")
CHANGES = ("CreateJob", "BatchCreateJobs", "CancelJob", "RetryJob", "UpdateJob")


def jobs_of(call: Call) -> Iterator[Fields]:
    """Yield the jobs that an answer shows."""
    if job := call.response.get("job"):
        yield job
    for result in call.response.get("results", ()):
        if "job" in result:
            yield result["job"]
    yield from call.response.get("jobs", ())


@guarantee("Invariant: positions")
def gapless(history: History) -> Iterator[str]:
    for before, after in pairwise(history.events):
        if after.position != before.position + 1:
            yield f"position {after.position} follows {before.position}"
        if after.commit_time < before.commit_time:
            yield f"position {after.position} was committed before {before.position}"
    for uid, events in history.by_job.items():
        revisions = [event.revision for event in events]
        if revisions != list(range(1, len(revisions) + 1)):
            yield f"the revisions of {uid} are {revisions}"


@guarantee("3d.1 An acknowledged write survives")
def acknowledged_survives(history: History) -> Iterator[str]:
    kept = {(event.uid, event.revision) for event in history.events}
    deleted = {event.job_id for event in history.events if event.is_last}
    for call in history.calls:
        if call.owner not in history.owners or not call.succeeded or history.may_be_lost(call):
            continue
        for job in jobs_of(call):
            if (job["uid"], job["revision"]) not in kept:
                yield f"{call.call_id} {call.method} showed {job['job_id']} at {job['revision']}, which is gone"
        if call.method == "DeleteJob" and call.request["job_id"] not in deleted:
            yield f"{call.call_id} deleted {call.request['job_id']}, which is still there"
    yield from _lost_ends(history)


def _lost_ends(history: History) -> Iterator[str]:
    """Yield claims and completions that were acknowledged and that the ledger does not have."""
    begun = claims_in_ledger(history)
    completed = {
        (event.job_id, chunk.get("index", 0), chunk.get("start_time", 0)) for event, chunk in completions_of(history)
    }
    for lease in leases_of(history).values():
        if lease.attempt not in begun and not any(map(history.may_be_lost, lease.claims)):
            yield f"the claim of {lease.attempt} is gone"
        for report in lease.reports:
            is_end = report.call.method == "CompleteChunks" and report.status == "OK"
            if is_end and lease.attempt not in completed and not history.may_be_lost(report.call):
                yield f"{report.call.call_id} completed {lease.attempt}, which is not completed"


@guarantee("3d.1 A read sees what was acknowledged before")
def reads_see_writes(history: History) -> Iterator[str]:
    acknowledged: dict[str, list[tuple[float, int, str]]] = {}
    for call in history.answered(*CHANGES):
        if not history.may_be_lost(call):
            for job in jobs_of(call):
                acknowledged.setdefault(job["job_id"], []).append((call.end, job["revision"], job["uid"]))
    deleted = {event.job_id for event in history.events if event.is_last}
    for call in history.calls:
        if call.method != "GetJob" or call.owner not in history.owners or history.may_be_lost(call):
            continue
        before = [
            (revision, uid) for end, revision, uid in acknowledged.get(call.request["job_id"], ()) if end < call.start
        ]
        if not before:
            continue
        if call.code == "NOT_FOUND" and call.request["job_id"] not in deleted:
            yield f"{call.call_id} does not find {call.request['job_id']}"
        for job in jobs_of(call):
            newest = max((revision for revision, uid in before if uid == job["uid"]), default=0)
            if job["revision"] < newest:
                yield f"{call.call_id} shows {job['job_id']} at {job['revision']}, which was at {newest} before"


@guarantee("3d.4 A creation takes effect once")
def request_ids(history: History) -> Iterator[str]:
    alive: dict[tuple[str, str], str] = {}
    for event in history.events:
        name = (event.owner, event.job.get("display_name", ""))
        if event.owner not in history.owners or not is_shown(event):
            continue
        if "CREATED" in event.types:
            if name in alive:
                yield f"position {event.position} creates {name[1]} again, which is {alive[name]}"
            alive[name] = event.job_id
        elif event.is_last:
            alive.pop(name, None)
