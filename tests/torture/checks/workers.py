"""Workers: leases by their tokens, and chunks by the ledger's own account of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.torture.checks import guarantee
from tests.torture.checks.watches import is_shown
from tests.torture.history import Call, Event, Fields, History

REPORTS = {
    "Heartbeat": "reports", "CompleteChunks": "completions", "FailChunks": "failures", "ReleaseChunks": "releases",
}  # fmt: skip
ATTEMPT = tuple[str, int, int]
"""Job id, index and start time: what names one attempt for ever."""


@dataclass
class Report:
    """What one call said of one lease, and the answer."""

    call: Call
    said: Fields
    status: str


@dataclass
class Lease:
    """One lease token: the claims that returned it and the reports that named it."""

    attempt: ATTEMPT
    claims: list[Call] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)

    @property
    def claimed(self) -> float:
        """Return when its worker first knew of it."""
        return min(call.end for call in self.claims)


def leases_of(history: History) -> dict[str, Lease]:
    """Return all leases of the owners who keep to the rules, by token."""
    leases: dict[str, Lease] = {}
    for call in history.answered("ClaimChunks"):
        if call.owner not in history.owners:
            continue
        for claimed in call.response.get("chunks", ()):
            chunk = claimed["chunk"]
            attempt = (claimed["job_id"], chunk.get("index", 0), chunk["start_time"])
            leases.setdefault(claimed["lease"]["token"], Lease(attempt)).claims.append(call)
    for call in history.calls:
        if (name := REPORTS.get(call.method)) is None or call.owner not in history.owners:
            continue
        results = {result["lease_token"]: result for result in call.response.get("results", ())}
        for said in call.request.get(name, ()):
            if lease := leases.get(said["lease_token"]):
                status = results.get(said["lease_token"], {}).get("status", "")
                lease.reports.append(Report(call, said, status if call.succeeded else call.code))
    return leases


def completions_of(history: History) -> Iterator[tuple[Event, Fields]]:
    """Yield each completion of a chunk in the ledger: the event, and the chunk after it."""
    for events in history.by_job.values():
        completed: set[int] = set()
        for event in events:
            for chunk in event.chunks:
                index = chunk.get("index", 0)
                if chunk["state"] == "COMPLETED" and index not in completed:
                    yield event, chunk
                    completed.add(index)


def claims_in_ledger(history: History) -> set[ATTEMPT]:
    """Return the attempts that the ledger has begun."""
    return {
        (event.job_id, chunk.get("index", 0), chunk["start_time"])
        for event in history.events for chunk in event.chunks if "start_time" in chunk
    }  # fmt: skip


@guarantee("3c.1 Completed means ran")
def completed_means_ran(history: History) -> Iterator[str]:
    said = {
        lease.attempt for lease in leases_of(history).values()
        for report in lease.reports if report.call.method == "CompleteChunks" and report.call.may_have_happened
    }  # fmt: skip
    for event, chunk in completions_of(history):
        attempt = (event.job_id, chunk.get("index", 0), chunk.get("start_time", 0))
        if event.owner in history.owners and is_shown(event) and attempt not in said:
            yield f"position {event.position} completes chunk {attempt}, which no worker has completed"


@guarantee("3c.2 The last report counts")
def last_word_counts(history: History) -> Iterator[str]:
    completed = {
        (event.job_id, chunk.get("index", 0), chunk.get("start_time", 0)): (event, chunk)
        for event, chunk in completions_of(history)
    }
    for lease in leases_of(history).values():
        words = {
            report.said.get("progress", {}).get("message", "")
            for report in lease.reports if report.call.method == "CompleteChunks" and report.call.may_have_happened
        }  # fmt: skip
        if words and (known := completed.get(lease.attempt)):
            event, chunk = known
            if chunk.get("progress", {}).get("message", "") not in words:
                yield f"position {event.position} completes {lease.attempt} without its last word {sorted(words)}"


def accepted(lease: Lease) -> Iterator[Report]:
    """Yield the reports on a lease that were taken."""
    return (report for report in lease.reports if report.status in ("OK", "CANCEL_REQUESTED"))


@guarantee("3d.2 What a fail-over lost is refused")
def lost_leases_are_refused(history: History) -> Iterator[str]:
    begun = claims_in_ledger(history)
    for lease in leases_of(history).values():
        for report in accepted(lease) if lease.attempt not in begun else ():
            if not history.may_be_lost(report.call):
                yield f"{report.call.call_id} reports on {lease.attempt}, whose claim the ledger does not have"


@guarantee("3c.9 Nothing is claimed before its time")
def schedules(history: History) -> Iterator[str]:
    for event in history.events:
        if "CLAIMED" in event.types and event.commit_time < event.job.get("schedule_time", 0):
            yield f"position {event.position} claims a chunk of {event.job_id} before its time"


@guarantee("3c.5 At most once a lease")
def fencing(history: History) -> Iterator[str]:
    leases = leases_of(history)
    by_chunk: dict[tuple[str, int], list[Lease]] = {}
    for lease in leases.values():
        by_chunk.setdefault(lease.attempt[:2], []).append(lease)
        if len({(call.client, call.request.get("request_id")) for call in lease.claims}) > 1:
            yield f"the lease of {lease.attempt} was given to several claims"
    for lease in leases.values():
        for report in accepted(lease):
            later = [
                other for other in by_chunk[lease.attempt[:2]]
                if other is not lease and min(call.start for call in other.claims) > lease.claimed
                and other.claimed < report.call.start
            ]  # fmt: skip
            if later:
                yield f"{report.call.call_id} reports on {lease.attempt} after {later[0].attempt} was claimed"


@guarantee("3c.6 A report fails alone")
def reports_fail_alone(history: History) -> Iterator[str]:
    for call in history.answered(*REPORTS):
        if call.owner not in history.owners:
            continue
        named = [said["lease_token"] for said in call.request.get(REPORTS[call.method], ())]
        if [result["lease_token"] for result in call.response.get("results", ())] != named:
            yield f"{call.call_id} has no result of its own for each lease"


@guarantee("3c.14 No chunk of a paused kind is claimed")
def pauses(history: History) -> Iterator[str]:
    begun: dict[tuple[str, str], float] = {}
    paused: list[tuple[str, str, float, float]] = []
    for call in (call for call in history.calls if call.client == "admin"):
        name = (call.request.get("owner", ""), call.request.get("kind", ""))
        if call.method == "PauseKind" and call.succeeded and not history.may_be_lost(call):
            begun[name] = call.end
        elif call.method == "ResumeKind" and name in begun:
            paused.append((*name, begun.pop(name), call.start))
    begins = _first_starts(history)
    for call in history.answered("ClaimChunks"):
        begin = begins[call.owner, call.request.get("request_id", call.call_id)]
        for claimed in call.response.get("chunks", ()):
            for owner, kind, start, end in paused:
                if (call.owner, claimed["kind"]) == (owner, kind) and start < begin and call.end < end:
                    yield f"{call.call_id} claimed a chunk of {kind}, which is paused"


def _first_starts(history: History) -> dict[tuple[str, str], float]:
    """Return when each claim was first sent, by its owner and request id: a repeated one may have happened then."""
    starts: dict[tuple[str, str], float] = {}
    for call in history.calls:
        if call.method == "ClaimChunks":
            starts.setdefault((call.owner, call.request.get("request_id", call.call_id)), call.start)
    return starts
