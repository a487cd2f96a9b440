"""The watch: streams compared with the ledger as it is in the end, stream by stream and watcher by watcher."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from tests.torture.checks import guarantee
from tests.torture.history import LOST_REASONS, STARTS_ANEW, Call, Event, Fields, History, messages_of

ENDED = ("COMPLETED", "FAILED", "CANCELLED")
SENTINEL = "sentinel"
BOOKMARK_SECONDS = 15.0
OWN_ENDS = {"", "OK", "CANCELLED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}


@dataclass
class Chain:
    """The streams of one watcher from one beginning on, each resumed from the last cursor of the one before."""

    calls: list[Call] = field(default_factory=list)
    listed: dict[str, int] | None = None
    """The revisions that a list showed, when it began with one."""
    one_page: bool = True

    @property
    def first(self) -> Call:
        """Return the stream that it began with."""
        return self.calls[0]

    @property
    def is_every(self) -> bool:
        """Whether nothing may be merged."""
        return self.first.request.get("mode") == "EVERY"

    @property
    def states(self) -> set[str]:
        """Return the states that its filter names."""
        return set(self.first.request.get("filter", {}).get("states", ()))

    @property
    def began_with_state(self) -> bool:
        """Whether it knows all jobs from its beginning on."""
        return self.listed is not None or not (self.first.request.get("from_now") or self.first.request.get("cursor"))

    def messages(self) -> Iterator[tuple[Fields, bool]]:
        """Yield the messages about jobs, each with whether it is after the first bookmark of the chain."""
        current = self.listed is not None
        for call in self.calls:
            for message in call.messages:
                if message["type"] == "BOOKMARK":
                    current = True
                elif "job" in message:
                    yield message, current

    def events(self) -> Iterator[Fields]:
        """Yield the messages that have an event."""
        return (message for message, _ in self.messages() if "event" in message)

    @property
    def sentinel(self) -> Fields | None:
        """Return the message about the last job of the run."""
        return next((message for message, _ in self.messages() if message["job"]["kind"] == SENTINEL), None)


def chains_of(history: History, method: str = "WatchJobs") -> Iterator[Chain]:
    """Yield the chains of the watchers of the owners who keep to the rules."""
    for calls in history.streams.values():
        chain: Chain | None = None
        known: set[str] = set()
        for call in calls:
            if call.method != method or call.owner not in history.owners:
                continue
            cursor = call.request.get("cursor", "")
            if chain is None or not cursor or cursor not in known:
                if chain is not None:
                    yield chain
                chain, known = _begun(history, call), {cursor}
            chain.calls.append(call)
            known |= {message["cursor"] for message in call.messages if message.get("cursor")}
        if chain is not None:
            yield chain


def _begun(history: History, call: Call) -> Chain:
    """Return the chain that a stream begins; with the list that its cursor is from."""
    cursor, pages = call.request.get("cursor"), list[Call]()
    for page in history.answered("ListJobs"):
        if page.client == call.client and page.end <= call.start:
            pages = (
                [page]
                if page.response.get("cursor") == cursor and not page.request.get("page_token")
                else [*pages, page]
                if pages
                else []
            )
    if not cursor or not pages:
        return Chain()
    jobs = [job for page in pages for job in page.response.get("jobs", ())]
    return Chain(listed={job["uid"]: job["revision"] for job in jobs}, one_page=len(pages) == 1)


def is_shown(event: Event) -> bool:
    """Whether watches show it that do not ask for the service's own jobs."""
    return not event.job["kind"].startswith("jobledger.")


def matches_ledger(history: History, message: Fields) -> bool:
    """Whether the ledger still has the event of a message."""
    shown = message["event"]
    event = history.by_position.get(shown["position"])
    return event is not None and (event.uid, event.revision) == (message["job"]["uid"], message["job"]["revision"])


def where(call: Call, message: Fields | None = None) -> str:
    """Return the place in the history."""
    place = f"{call.client} {call.call_id}"
    return f"{place} at {message['time']:.3f}" if message else place


@guarantee("3a.1 Current first")
def current_first(history: History) -> Iterator[str]:
    deleted = {event.uid for event in history.events if event.is_last}
    created = [
        (call, job) for call in history.answered("CreateJob") if (job := call.response.get("job")) and
        job["uid"] not in deleted and not history.may_be_lost(call)
    ]  # fmt: skip
    for chain in chains_of(history):
        call = chain.first
        types = [message["type"] for message in call.messages]
        if not types:
            continue
        if call.request.get("from_now") and types[0] != "BOOKMARK":
            yield f"{where(call)} begins with {types[0]}, not with a bookmark"
        if call.request.get("cursor") and types[0] == "SNAPSHOT":
            yield f"{where(call)} was given a cursor and begins with a snapshot"
        if not chain.began_with_state or chain.listed is not None or chain.states or "BOOKMARK" not in types:
            continue
        shown = {message["job"]["uid"] for message in call.messages[: types.index("BOOKMARK")] if "job" in message}
        for creation, job in created:
            if creation.owner == call.owner and creation.end < call.start and job["uid"] not in shown:
                yield f"{where(call)} began without {job['job_id']}, which was there"


@guarantee("3a.2 Ordered")
def ordered(history: History) -> Iterator[str]:
    for calls in history.streams.values():
        for call in calls:
            messages = list(messages_of(call))
            events = [message for message in messages if "event" in message]
            for before, after in pairwise(events):
                if after["event"]["position"] <= before["event"]["position"]:
                    yield f"{where(call, after)} is at {after['event']['position']} after {before['event']['position']}"
            revisions: dict[str, int] = {}
            for message in messages:
                if "job" not in message:
                    continue
                uid, revision = message["job"]["uid"], message["job"]["revision"]
                if revision <= revisions.get(uid, 0):
                    yield f"{where(call, message)} shows revision {revision} of {uid} after {revisions[uid]}"
                revisions[uid] = revision


@guarantee("3a.3 Unique")
def unique(history: History) -> Iterator[str]:
    for method in ("WatchJobs", "WatchJob"):
        for chain in chains_of(history, method):
            seen: set[int] = set()
            for message in chain.events():
                position = message["event"]["position"]
                if position in seen:
                    yield f"{where(chain.first, message)} repeats position {position}"
                seen.add(position)


@guarantee("3a.4 Reliable")
def reliable(history: History) -> Iterator[str]:
    for chain in chains_of(history):
        yield from _follow_on(chain)
        seen = {message["event"]["position"] for message in chain.events()}
        if chain.is_every and not chain.states and seen:
            current = [m["event"]["position"] for m, is_current in chain.messages() if is_current and "event" in m]
            for event in history.events:
                if (
                    event.owner == chain.first.owner and is_shown(event) and current
                    and current[0] <= event.position <= current[-1] and event.position not in seen
                ):  # fmt: skip
                    yield f"{where(chain.first)} skipped position {event.position} ({event.job_id})"
    yield from _unfinished(history)


def _follow_on(chain: Chain) -> Iterator[str]:
    """Yield where the revisions of a job do not follow on one another."""
    known = dict(chain.listed or {})
    resumed = set[str]()
    previous: Call | None = None
    for call in chain.calls:
        is_current = previous is not None or chain.listed is not None
        resumed = set() if previous is not None else set(known)
        previous = call
        for message in call.messages:
            is_current |= message["type"] == "BOOKMARK"
            if "job" not in message:
                continue
            uid, revision = message["job"]["uid"], message["job"]["revision"]
            merged = message.get("merged_revision_count", 0)
            if chain.is_every and merged:
                yield f"{where(call, message)} has merged {merged} revisions in mode EVERY"
            if message["type"] == "CHANGED" and not chain.states:
                expected = known.get(uid, 0) + 1
                knows = uid in known or (is_current and chain.began_with_state and chain.one_page)
                is_first = uid not in resumed and previous is not chain.first
                gap = revision - merged - expected
                if knows and ((gap > 0 and not (is_first and not chain.is_every)) or (gap < 0 and chain.one_page)):
                    yield f"{where(call, message)} shows revision {revision} of {uid}, {merged} merged, after {expected - 1}"
            resumed.add(uid)
            known[uid] = revision


def _unfinished(history: History) -> Iterator[str]:
    """Yield the watchers that did not see the last job of the run."""
    last: dict[str, Chain] = {chain.first.client: chain for chain in chains_of(history)}
    for client, chain in last.items():
        if chain.sentinel is None:
            yield f"{client} never saw the last job of {chain.first.owner}"


@guarantee("3a.5 Atomic")
def atomic(history: History) -> Iterator[str]:
    for method in ("WatchJobs", "WatchJob"):
        for chain in chains_of(history, method):
            for message in chain.events():
                if message.get("merged_revision_count") or message["type"] != "CHANGED":
                    continue
                event = history.by_position.get(message["event"]["position"])
                if event is None or not matches_ledger(history, message):
                    continue
                if message["event"].get("changes", []) != list(event.changes):
                    yield f"{where(chain.first, message)} shows other changes than position {event.position} has"


@guarantee("3a.6 Resumable")
def resumable(history: History) -> Iterator[str]:
    for method in ("WatchJobs", "WatchJob"):
        for chain in chains_of(history, method):
            yield from _untold_losses(history, chain)
            for call in chain.calls:
                if call.code in OWN_ENDS or (method == "WatchJob" and call.code == "NOT_FOUND"):
                    continue
                if call.reason in STARTS_ANEW and (history.lost_tails or call.reason not in LOST_REASONS):
                    continue
                yield f"{where(call)} ended with {call.code} {call.reason}"


def _untold_losses(history: History, chain: Chain) -> Iterator[str]:
    """Yield events that the ledger does not have, and those that followed them on a stream that did not end."""
    lost: Fields | None = None
    for message in chain.events():
        if message.get("type") == "DELETED":
            continue
        if not matches_ledger(history, message):
            lost = message
            position = message["event"]["position"]
            if not any(position > tail.kept_position and message["time"] <= tail.promoted + BOOKMARK_SECONDS
                       for tail in history.lost_tails):  # fmt: skip
                yield f"{where(chain.first, message)} shows position {position}, which the ledger does not have"
        elif lost is not None:
            yield f"{where(chain.first, message)} goes on after {lost['event']['position']}, which was lost"
            return


@guarantee("3a.7 Bookmarkable")
def bookmarkable(history: History) -> Iterator[str]:
    for calls in history.streams.values():
        for call in calls:
            if call.owner not in history.owners or call.client in history.setup.get("slow", ()):
                continue
            end = [call.end] if call.code else []
            for before, after in pairwise([message["time"] for message in call.messages] + end):
                if after - before > BOOKMARK_SECONDS and history.is_quiet(before, after):
                    yield f"{where(call)} was silent from {before:.1f} to {after:.1f}"


@guarantee("3a.8 Race-free with lists")
def race_free(history: History) -> Iterator[str]:
    for chain in chains_of(history):
        sentinel = chain.sentinel
        if sentinel is None or not chain.began_with_state or "event" not in sentinel:
            continue
        held = dict(chain.listed or {})
        for message, _ in chain.messages():
            if message["type"] in ("LEFT", "DELETED"):
                held.pop(message["job"]["uid"], None)
            else:
                held[message["job"]["uid"]] = message["job"]["revision"]
        matching: dict[str, Event] = {}
        for event in history.events:
            if event.position > sentinel["event"]["position"]:
                break
            if event.owner == chain.first.owner and is_shown(event):
                matching[event.uid] = event
                if event.is_last or (chain.states and event.job["state"] not in chain.states):
                    del matching[event.uid]
        for uid in matching.keys() ^ held.keys():
            name = "still shows" if uid in held else "does not show"
            yield f"{where(chain.first)} {name} {uid} in the end"
        for uid in matching.keys() & held.keys():
            if held[uid] < matching[uid].revision:
                yield f"{where(chain.first)} shows {uid} at {held[uid]} in the end, which is at {matching[uid].revision}"


@guarantee("3a.9 Ends well")
def ends_well(history: History) -> Iterator[str]:
    for chain in chains_of(history, "WatchJob"):
        for call in chain.calls:
            messages = list(messages_of(call))
            last = [m for m in messages if m["type"] == "DELETED" or m["job"].get("state") in ENDED]
            if last and messages[-1] is not last[0]:
                yield f"{where(call, last[0])} goes on after the end of its job"
            if call.code == "OK" and messages and not last:
                yield f"{where(call)} ended with OK before its job did"
            if call.code == "OK" and not call.messages:
                yield f"{where(call)} ended with OK and without a message"
