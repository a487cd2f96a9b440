"""The watch: streams compared with the ledger as it is in the end, stream by stream and watcher by watcher."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from tests.torture.checks import guarantee
from tests.torture.history import (
    LOST,
    RECOVERY,
    STARTS_ANEW,
    Call,
    Event,
    History,
    Message,
    messages_of,
)

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

    def messages(self) -> Iterator[tuple[Message, bool]]:
        """Yield the messages about jobs, each with whether it is after the first bookmark of the chain."""
        current = self.listed is not None
        for call in self.calls:
            for message in call.messages:
                current |= message.type == "BOOKMARK"
                if message.uid:
                    yield message, current

    def events(self) -> Iterator[Message]:
        """Yield the messages that have an event."""
        return (message for message, _ in self.messages() if message.position)

    @property
    def sentinel(self) -> Message | None:
        """Return the message about the last job of the run."""
        return next((message for message, _ in self.messages() if message.kind == SENTINEL), None)


def chains_of(history: History, method: str = "WatchJobs") -> Iterator[Chain]:
    """Yield the chains of the watchers of the owners who keep to the rules."""
    for calls in history.streams.values():
        chain: Chain | None = None
        known: set[str] = set()
        for call in calls:
            if call.method != method or call.owner not in history.owners:
                continue
            cursor = call.request.get("cursor", "")
            if chain is None or not cursor or cursor not in known or chain.calls[-1].reason in STARTS_ANEW:
                if chain is not None:
                    yield chain
                chain, known = _begun(history, call), {cursor}
            chain.calls.append(call)
            known |= {message.cursor for message in call.messages if message.cursor}
        if chain is not None:
            yield chain


def _begun(history: History, call: Call) -> Chain:
    """Return the chain that a stream begins; with the list that its cursor is from."""
    pages: list[Call] = []
    for page in history.lists.get(call.client, ()) if call.request.get("cursor") else ():
        if page.end <= call.start:
            pages = [page] if not page.request.get("page_token") else [*pages, page]
    if not pages or pages[0].response.get("cursor") != call.request["cursor"]:
        return Chain()
    jobs = [job for page in pages for job in page.response.get("jobs", ())]
    return Chain(listed={job["uid"]: job["revision"] for job in jobs}, one_page=len(pages) == 1)


def is_shown(event: Event) -> bool:
    """Whether watches show it that do not ask for the service's own jobs."""
    return not event.job["kind"].startswith("jobledger.")


def matches_ledger(history: History, message: Message) -> bool:
    """Whether the ledger still has the event of a message."""
    event = history.by_position.get(message.position)
    shown = (message.uid, message.revision, message.commit_time)
    return event is not None and (event.uid, event.revision, event.commit_time) == shown


def where(call: Call, message: Message | None = None) -> str:
    """Return the place in the history."""
    place = f"{call.client} {call.call_id}"
    return f"{place} at {message.time:.3f}" if message else place


@guarantee("3a.1 Current first")
def current_first(history: History) -> Iterator[str]:
    deleted = {event.uid for event in history.events if event.is_last}
    created = [
        (call, call.response["job"])
        for call in history.answered("CreateJob")
        if "job" in call.response and call.response["job"]["uid"] not in deleted and not history.may_be_lost(call)
    ]
    for chain in chains_of(history):
        call = chain.first
        types = [message.type for message in call.messages]
        if not types:
            continue
        if call.request.get("from_now") and types[0] != "BOOKMARK":
            yield f"{where(call)} begins with {types[0]}, not with a bookmark"
        if call.request.get("cursor") and types[0] == "SNAPSHOT":
            yield f"{where(call)} was given a cursor and begins with a snapshot"
        if not chain.began_with_state or chain.listed is not None or chain.states or "BOOKMARK" not in types:
            continue
        bookmark = call.messages[types.index("BOOKMARK")]
        if history.is_in_lost_time(call.start, bookmark.time):
            continue  # it may show what was deleted or created in the lost time
        shown = {message.uid for message in call.messages[: types.index("BOOKMARK")]}
        for creation, job in created:
            if creation.owner == call.owner and creation.end < call.start and job["uid"] not in shown:
                yield f"{where(call)} began without {job['job_id']}, which was there"


@guarantee("3a.2 Ordered")
def ordered(history: History) -> Iterator[str]:
    for calls in history.streams.values():
        for call in calls:
            events = [message for message in call.messages if message.position]
            for before, after in pairwise(events):
                if after.position <= before.position:
                    yield f"{where(call, after)} is at position {after.position} after {before.position}"
            revisions: dict[str, int] = {}
            for message in messages_of(call):
                if message.revision <= revisions.get(message.uid, 0):
                    before_it = revisions[message.uid]
                    yield f"{where(call, message)} shows {message.uid} at {message.revision} after {before_it}"
                revisions[message.uid] = message.revision


@guarantee("3a.3 Unique")
def unique(history: History) -> Iterator[str]:
    for chain in (*chains_of(history), *chains_of(history, "WatchJob")):
        seen: set[int] = set()
        for message in chain.events():
            if message.position in seen:
                yield f"{where(chain.first, message)} repeats position {message.position}"
            seen.add(message.position)


@guarantee("3a.4 Reliable")
def reliable(history: History) -> Iterator[str]:
    last: dict[str, Chain] = {}
    for chain in chains_of(history, "WatchJob"):
        yield from _gaps_in_revisions(chain)
    for chain in chains_of(history):
        last[chain.first.client] = chain
        yield from _gaps_in_revisions(chain)
        if chain.is_every and not chain.states:
            yield from _gaps_in_positions(history, chain)
    for client, chain in last.items():
        if chain.sentinel is None:
            yield f"{client} never saw the last job of {chain.first.owner}"


def _gaps_in_positions(history: History, chain: Chain) -> Iterator[str]:
    """Yield the events of the owner that lie within what a watcher in mode EVERY saw, and that it did not see."""
    seen = {message.position for message in chain.events()}
    current = [
        message.position
        for message, is_current in chain.messages()
        if is_current and message.position and matches_ledger(history, message)
    ]
    for event in history.events if current else ():
        is_within = current[0] <= event.position <= current[-1]
        if is_within and event.owner == chain.first.owner and is_shown(event) and event.position not in seen:
            yield f"{where(chain.first)} skipped position {event.position} ({event.job_id})"


def _gaps_in_revisions(chain: Chain) -> Iterator[str]:
    """Yield where the revisions of a job do not follow on one another; in mode LATEST they need not after a resume."""
    known, is_current = dict(chain.listed or {}), chain.listed is not None
    for call in chain.calls:
        may_skip, shown = bool(call.request.get("cursor")) and not chain.is_every, set[str]()
        for message in call.messages:
            is_current |= message.type == "BOOKMARK"
            if chain.is_every and message.merged:
                yield f"{where(call, message)} has merged {message.merged} revisions in mode EVERY"
            if message.type == "CHANGED" and not chain.states:
                gap = message.revision - message.merged - known.get(message.uid, 0) - 1
                must_know = message.uid in known or (is_current and chain.began_with_state and chain.one_page)
                is_first = message.uid not in shown
                if must_know and ((gap > 0 and not (may_skip and is_first)) or (gap < 0 and chain.one_page)):
                    before = known.get(message.uid, 0)
                    yield f"{where(call, message)} shows {message.uid} at {message.revision} after {before}"
            if message.uid:
                shown.add(message.uid)
                known[message.uid] = message.revision


@guarantee("3a.5 Atomic")
def atomic(history: History) -> Iterator[str]:
    for chain in (*chains_of(history), *chains_of(history, "WatchJob")):
        for message in chain.events():
            if message.type != "CHANGED" or message.merged or not matches_ledger(history, message):
                continue
            if message.digest != history.by_position[message.position].digest:
                yield f"{where(chain.first, message)} shows another change than position {message.position} has"


@guarantee("3a.6 Resumable")
def resumable(history: History) -> Iterator[str]:
    for chain in (*chains_of(history), *chains_of(history, "WatchJob")):
        for call in chain.calls:
            if call.code in OWN_ENDS or (call.method == "WatchJob" and call.code == "NOT_FOUND"):
                continue
            if call.reason in STARTS_ANEW - {LOST} or (call.reason == LOST and _may_hold_lost(history, chain, call)):
                continue
            yield f"{where(call)} ended with {call.code} {call.reason}"


def _may_hold_lost(history: History, chain: Chain, call: Call) -> bool:
    """Whether a watcher that was told of a loss began before a fail-over that lost something."""
    return any(
        tail.lost_from <= call.end and chain.first.start <= tail.promoted + RECOVERY for tail in history.lost_tails
    )


@guarantee("3d.2 What a fail-over lost is told")
def losses_are_told(history: History) -> Iterator[str]:
    for chain in (*chains_of(history), *chains_of(history, "WatchJob")):
        yield from _untold_losses(history, chain)


def _untold_losses(history: History, chain: Chain) -> Iterator[str]:
    """Yield events that the ledger does not have, and those that followed them on a stream that did not end."""
    lost: Message | None = None
    for message in chain.events():
        if not matches_ledger(history, message):
            lost = message
            is_of_a_tail = any(
                message.position > tail.kept_position and message.time >= tail.lost_from for tail in history.lost_tails
            )
            if not is_of_a_tail:
                yield f"{where(chain.first, message)} shows position {message.position}, which the ledger does not have"
        elif lost is not None:
            yield f"{where(chain.first, message)} goes on after position {lost.position}, which was lost"
            return


@guarantee("3a.7 Bookmarkable")
def bookmarkable(history: History) -> Iterator[str]:
    for calls in history.streams.values():
        for call in calls:
            if call.owner not in history.owners or call.client.endswith("slow"):
                continue
            times = [call.start, *(message.time for message in call.messages), *([call.end] if call.code else ())]
            for before, after in pairwise(times):
                if after - before > BOOKMARK_SECONDS and history.is_quiet(before, after):
                    yield f"{where(call)} was silent from {before:.1f} to {after:.1f}"


@guarantee("3a.8 Race-free with lists")
def race_free(history: History) -> Iterator[str]:
    for chain in chains_of(history):
        if chain.sentinel is None or not chain.began_with_state or not chain.sentinel.position:
            continue
        held, matching = _held(chain), _matching(history, chain, chain.sentinel.position)
        merged_later = set() if chain.is_every else _changed_after(history, chain.sentinel.position)
        for uid in (matching.keys() ^ held.keys()) - merged_later:
            name = "still shows" if uid in held else "does not show"
            yield f"{where(chain.first)} {name} {uid} in the end"
        for uid in (matching.keys() & held.keys()) - merged_later:
            if held[uid] < matching[uid]:
                yield f"{where(chain.first)} shows {uid} at {held[uid]} in the end, which is at {matching[uid]}"


def _held(chain: Chain) -> dict[str, int]:
    """Return the jobs that a watcher knows in the end, each with its revision."""
    held = dict(chain.listed or {})
    for message, _ in chain.messages():
        held[message.uid] = message.revision
        if message.type in ("LEFT", "DELETED"):
            del held[message.uid]
    return held


def _matching(history: History, chain: Chain, position: int) -> dict[str, int]:
    """Return the jobs that match the filter of a watcher at a position, each with its revision."""
    matching: dict[str, int] = {}
    for event in history.events:
        if event.position <= position and event.owner == chain.first.owner and is_shown(event):
            matching[event.uid] = event.revision
            if event.is_last or (chain.states and event.job["state"] not in chain.states):
                del matching[event.uid]
    return matching


def _changed_after(history: History, position: int) -> set[str]:
    """Return the jobs with events after a position: in mode LATEST, earlier ones of theirs may come with those."""
    return {event.uid for event in history.events if event.position > position}


@guarantee("3a.9 Ends well")
def ends_well(history: History) -> Iterator[str]:
    for chain in chains_of(history, "WatchJob"):
        for call in chain.calls:
            messages = list(messages_of(call))
            last = [message for message in messages if message.type == "DELETED" or message.state in ENDED]
            if last and messages[-1] is not last[0]:
                yield f"{where(call, last[0])} goes on after the end of its job"
            if call.code == "OK" and messages and not last:
                yield f"{where(call)} ended with OK before its job did"
            if call.code == "OK" and not call.messages:
                yield f"{where(call)} ended with OK and without a message"
