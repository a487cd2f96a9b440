"""A recorded run: every call, every message of a stream, the ledger and the state in the end, as lines of JSON.

A folder has `calls-*.jsonl` (one file a recording process), `faults.jsonl`, `ledger.jsonl` (the events as an admin
reads them in the end) and `final.jsonl` (the jobs and derived figures in the end). Times are of `time.monotonic()`,
which all processes of a machine share.
"""

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.torture.world import LostTail

Fields = dict[str, Any]
UNCERTAIN = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", ""}
"""Outcomes of calls that may have taken effect; "" is a call whose caller was killed."""
LOST = "HISTORY_LOST"
"""The reason that tells a watcher that a fail-over lost what it had seen."""
RECOVERY = 10.0
"""Seconds after a fault in which streams may still be silent."""
STARTS_ANEW = {LOST, "HISTORY_TRIMMED"}


@dataclass(slots=True)
class Call:
    """One call: what was asked, when, and what came of it."""

    call_id: str
    owner: str
    client: str
    """The caller, worker or watcher; a watcher's streams follow one another."""
    method: str
    start: float
    request: Fields
    end: float = math.inf
    code: str = ""
    reason: str = ""
    response: Fields = field(default_factory=dict)
    messages: list["Message"] = field(default_factory=list)
    """What the stream brought, in order."""

    @property
    def succeeded(self) -> bool:
        """Whether the call was acknowledged."""
        return self.code == "OK"

    @property
    def may_have_happened(self) -> bool:
        """Whether it took effect, or its caller cannot know."""
        return self.code == "OK" or self.code in UNCERTAIN


@dataclass(slots=True)
class Message:
    """One message of a stream. What a watch did not say, and what streams of another kind have, is empty or 0."""

    time: float
    type: str = ""
    cursor: str = ""
    uid: str = ""
    """Of the job; empty in a bookmark."""
    owner: str = ""
    kind: str = ""
    state: str = ""
    revision: int = 0
    position: int = 0
    """Of the event; 0 in a snapshot and in a bookmark."""
    commit_time: int = 0
    """Of the event: with position and revision, it tells the event from one that has taken its place."""
    merged: int = 0
    digest: int = 0
    """Of the event with its changes and of the chunks; equal to that of the ledger's event."""
    leak: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the ledger, as it is in the end."""

    position: int
    owner: str
    job_id: str
    uid: str
    revision: int
    commit_time: int
    changes: tuple[Fields, ...]
    job: Fields
    chunks: tuple[Fields, ...]
    digest: int = 0

    @classmethod
    def of(cls, message: Fields) -> "Event":
        """Return the event of a watch message."""
        event, job = message["event"], message["job"]
        return cls(
            event["position"],
            event["owner"],
            event["job_id"],
            event["uid"],
            event["revision"],
            event["commit_time"],
            tuple(event.get("changes", ())),
            job,
            tuple(message.get("chunks", ())),
            message.get("digest", 0),
        )

    @property
    def types(self) -> set[str]:
        """Return the types of the changes."""
        return {change["type"] for change in self.changes}

    @property
    def is_last(self) -> bool:
        """Whether the job is deleted by it."""
        return "DELETED" in self.types


@dataclass(slots=True)
class Fault:
    """One fault and when it was on."""

    name: str
    start: float
    end: float = math.inf


@dataclass
class History:
    """All that is known of one run."""

    calls: list[Call] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    """The ledger in the end, by position."""
    jobs: dict[str, Fields] = field(default_factory=dict)
    """The jobs in the end by uid, in view FULL."""
    figures: dict[str, int] = field(default_factory=dict)
    """How many rows a recount corrected, by table."""
    defects: list[str] = field(default_factory=list)
    """Lines of the servers' logs at level error, and exit codes that are not 0."""
    no_end: str = ""
    """Why the ledger of the end could not be recorded; empty when it was."""
    lost_tails: list[LostTail] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    setup: Fields = field(default_factory=dict)
    """`owners` (those who keep to the rules), `quota` and `max_running`, as they were set before the load."""

    @cached_property
    def by_position(self) -> dict[int, Event]:
        """Return the events by position."""
        return {event.position: event for event in self.events}

    @cached_property
    def by_job(self) -> dict[str, list[Event]]:
        """Return the events of each job by uid, in order."""
        result: dict[str, list[Event]] = {}
        for event in self.events:
            result.setdefault(event.uid, []).append(event)
        return result

    @cached_property
    def streams(self) -> dict[str, list[Call]]:
        """Return the streams of each watcher, in order."""
        result: dict[str, list[Call]] = {}
        for call in sorted(self.calls, key=lambda call: call.start):
            if call.method in ("WatchJob", "WatchJobs"):
                result.setdefault(call.client, []).append(call)
        return result

    @cached_property
    def lists(self) -> dict[str, list[Call]]:
        """Return the pages that each client was answered, in order."""
        result: dict[str, list[Call]] = {}
        for call in self.answered("ListJobs"):
            result.setdefault(call.client, []).append(call)
        return result

    @property
    def owners(self) -> list[str]:
        """Return the owners whose every call is recorded in full; there are hostile ones beside them."""
        return list(self.setup["owners"])

    def is_quiet(self, start: float, end: float) -> bool:
        """Whether no fault was on between two times, nor shortly before."""
        return all(fault.end + RECOVERY < start or end < fault.start for fault in self.faults)

    def answered(self, *methods: str) -> Iterator[Call]:
        """Yield the calls of some methods that were acknowledged."""
        return (call for call in self.calls if call.method in methods and call.succeeded)

    def may_be_lost(self, call: Call) -> bool:
        """Whether a fail-over may have lost what was acknowledged to this call, by the time of it."""
        return self.is_in_lost_time(call.start, call.end)

    def is_in_lost_time(self, start: float, end: float) -> bool:
        """Whether commits were lost, as a fail-over later showed, at some time between two times."""
        return any(end >= tail.lost_from and start <= tail.promoted for tail in self.lost_tails)

    @classmethod
    def load(cls, folder: Path) -> "History":
        """Read a folder. A line that a killed process did not finish is left out."""
        history, calls = cls(), dict[str, Call]()
        for path in sorted(folder.glob("*.jsonl")):
            for record in _records(path):
                history._add(record, calls)
        history.calls = sorted(calls.values(), key=lambda call: call.start)
        history.events.sort(key=lambda event: event.position)
        return history

    def _add(self, record: Fields, calls: dict[str, Call]) -> None:
        kind = record.pop("record")
        match kind:
            case "call" | "end" | "message":
                _add_to_call(kind, record, calls)
            case "fault" if record["phase"] == "begin":
                self.faults.append(Fault(record["name"], record["time"]))
            case "fault":
                self.faults[-1].end = record["time"]
            case "lost_tail":
                del record["time"]
                self.lost_tails.append(LostTail(**record))
            case "event":
                self.events.append(Event.of(record))
            case "job":
                self.jobs[record["uid"]] = record
            case "figures" | "setup":
                del record["time"]
                getattr(self, kind).update(record)
            case "defect":
                self.defects.append(record["line"])
            case "no_end":
                self.no_end = record["line"]


def _add_to_call(kind: str, record: Fields, calls: dict[str, Call]) -> None:
    call_id, moment = record.pop("call_id"), record.pop("time")
    if kind == "call":
        calls[call_id] = Call(call_id, start=moment, **record)
    elif kind == "end":
        call = calls[call_id]
        call.end, call.code, call.reason, call.response = moment, record["code"], record["reason"], record["response"]
    else:
        texts = {name: sys.intern(value) if isinstance(value, str) else value for name, value in record.items()}
        calls[call_id].messages.append(Message(moment, **texts))


def messages_of(call: Call) -> Iterator[Message]:
    """Yield the messages of a watch that are about a job."""
    return (message for message in call.messages if message.uid)


def _records(path: Path) -> Iterator[Fields]:
    for line in path.read_text().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return
