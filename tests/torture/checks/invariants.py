"""Invariants of the state, which hold after every commit: the ledger is carried out again, event by event."""

from collections import defaultdict
from collections.abc import Iterator

from tests.torture.checks import guarantee
from tests.torture.checks.watches import is_shown
from tests.torture.checks.workers import leases_of
from tests.torture.history import History

UNFINISHED = ("QUEUED", "RUNNING", "CANCELLING")
NEXT = {
    "": {"QUEUED"},
    "QUEUED": {"QUEUED", "RUNNING", "CANCELLED", "FAILED"},
    "RUNNING": {"RUNNING", "CANCELLING", "COMPLETED", "FAILED", "CANCELLED"},
    "CANCELLING": {"CANCELLING", "CANCELLED", "COMPLETED", "FAILED"},
    "FAILED": {"FAILED", "QUEUED"},
    "CANCELLED": {"CANCELLED", "QUEUED"},
    "COMPLETED": {"COMPLETED"},
}


@guarantee("Invariant: states")
def states(history: History) -> Iterator[str]:
    for uid, events in history.by_job.items():
        state, percent = "", 0.0
        for event in events:
            if "IMPORTED" in event.types:
                break
            for change in event.changes:
                begins, ends = change.get("from_state", ""), change.get("to_state", "")
                if begins != state or (ends and ends not in NEXT[begins]):
                    yield f"position {event.position} brings {uid}, which is {state}, from {begins} to {ends}"
                state = ends
            if state != event.job["state"] and not event.is_last:
                yield f"position {event.position} shows {uid} as {event.job['state']}, which is {state}"
            reached = event.job.get("progress", {}).get("percent", 0.0)
            if reached < percent and "RETRIED" not in event.types:
                yield f"position {event.position} brings {uid} from {percent} % to {reached} %"
            percent = reached


@guarantee("Invariant: counters equal rows")
def counters(history: History) -> Iterator[str]:
    for table, rows in history.figures.items():
        if rows:
            yield f"{rows} rows of {table} were wrong"


@guarantee("Invariant: limits")
def limits(history: History) -> Iterator[str]:
    running: dict[str, set[str]] = defaultdict(set)
    for event in history.events:
        limit = history.setup.get("max_running", {}).get(event.job["kind"])
        if limit is None or event.owner not in history.owners:
            continue
        jobs = running[event.owner]
        if event.job["state"] in ("RUNNING", "CANCELLING") and not event.is_last:
            jobs.add(event.uid)
        else:
            jobs.discard(event.uid)
        if len(jobs) > limit:
            yield f"{len(jobs)} jobs of {event.owner} run at position {event.position}, and {limit} may"


@guarantee("3b.13 No more jobs than the quota")
def quotas(history: History) -> Iterator[str]:
    unfinished: dict[str, set[str]] = defaultdict(set)
    for event in history.events:
        quota = history.setup.get("quota", {}).get(event.owner)
        if quota is None or not is_shown(event):
            continue
        jobs = unfinished[event.owner]
        if event.job["state"] in UNFINISHED and not event.is_last:
            jobs.add(event.uid)
        else:
            jobs.discard(event.uid)
        if len(jobs) > quota and "CREATED" in event.types:
            yield f"{event.owner} has {len(jobs)} unfinished jobs at position {event.position}, and {quota} may"


@guarantee("Invariant: unique keys")
def unique_keys(history: History) -> Iterator[str]:
    holders: dict[tuple[str, str, str], str] = {}
    for event in history.events:
        if not (key := event.job.get("unique_key")):
            continue
        name = (event.owner, event.job["kind"], key)
        if event.job["state"] in UNFINISHED and not event.is_last:
            if holders.setdefault(name, event.uid) != event.uid:
                yield f"position {event.position}: {event.uid} has the key {key}, which {holders[name]} has"
        elif holders.get(name) == event.uid:
            del holders[name]


@guarantee("3c.10 A finalizer waits for all others")
def finalizers(history: History) -> Iterator[str]:
    for event in history.events:
        summary = event.job.get("chunks_summary", {})
        for chunk in event.chunks if event.owner in history.owners else ():
            begun = chunk["state"] == "PROCESSING" and chunk.get("finalizer")
            if begun and summary.get("completed", 0) < summary["total"] - 1:
                yield f"position {event.position} begins the finalizer of {event.job_id} too early"


@guarantee("Invariant: outputs")
def outputs(history: History) -> Iterator[str]:
    declared = {
        lease.attempt: {report.said.get("output", {}).get("mark") for report in lease.reports
                        if report.call.method == "CompleteChunks" and report.call.may_have_happened}
        for lease in leases_of(history).values()
    }  # fmt: skip
    for job in history.jobs.values():
        for chunk in job.get("chunks", ()):
            if chunk["state"] != "COMPLETED" or job["owner"] not in history.owners:
                continue
            attempt = (job["job_id"], chunk.get("index", 0), chunk.get("start_time", 0))
            if chunk.get("output", {}).get("mark") not in declared.get(attempt, set()):
                yield f"{attempt} has the output {chunk.get('output')}, which its worker did not declare"


@guarantee("Invariant: attempts")
def attempts(history: History) -> Iterator[str]:
    for event in history.events:
        for chunk in event.chunks:
            if chunk.get("attempt", 0) > chunk.get("max_attempts", 0):
                yield f"position {event.position}: attempt {chunk['attempt']} of {chunk['max_attempts']}"
    for uid, job in history.jobs.items():
        states = {event.revision: event.job["state"] for event in history.by_job.get(uid, ())}
        if states.get(job["revision"]) != job["state"]:
            yield f"{uid} is stored at {job['revision']} {job['state']}, which the ledger does not have"
