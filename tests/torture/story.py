"""A small history without a violation, put together step by step as a server would answer, to try the checker on."""

from dataclasses import replace
from typing import Any

from tests.torture.history import Call, Event, Fault, Fields, History, Message

ALICE, MALLORY = "alice", "mallory"
LAST = "the end"


class Story:
    """The calls, events and streams of a run; each step is a second later than the one before."""

    def __init__(self) -> None:
        self.now = 0.0
        self.history = History(setup={"owners": [ALICE], "quota": {ALICE: 3}, "max_running": {"limited": 1}})
        self.history.figures = {"counts": 0}
        self.jobs: dict[str, Fields] = {}
        self.chunks: dict[str, list[Fields]] = {}

    def call(self, method: str, request: Fields, response: Fields | None = None, **fields: Any) -> Call:
        """Add a call of alice's that takes half a second."""
        names = {"owner": ALICE, "client": "alice-caller", "code": "OK"} | fields
        call = Call(f"call-{len(self.history.calls)}", method=method, start=self.now, request=request, **names)
        call.end, call.response = self.now + 0.5, response or {}
        self.now += 1
        self.history.calls.append(call)
        return call

    def event(self, job: Fields, *changes: Fields, chunks: tuple[Fields, ...] = (), state: str = "") -> Event:
        """Add an entry to the ledger, which brings a job to a state."""
        before, job["revision"] = job["state"], job["revision"] + 1
        job["state"] = state or before
        position = len(self.history.events) + 1
        states = {"from_state": before, "to_state": job["state"]}
        shown = tuple({"actor": "alice-caller"} | _named(states) | change for change in changes)
        event = Event(position, ALICE, job["job_id"], job["uid"], job["revision"], position, shown, dict(job),
                      tuple(map(dict, chunks)), digest=position * 7)  # fmt: skip
        self.history.events.append(event)
        return event

    def create(self, name: str, kind: str = "plain", chunks: int = 1, **fields: Any) -> None:
        """Create a job of some chunks, the last of several a finalizer."""
        self.jobs[name] = job = {
            "job_id": name, "uid": f"uid-{name}", "owner": ALICE, "kind": kind, "state": "", "revision": 0,
            "display_name": f"request-{name}", "chunks_summary": {"total": chunks},
        } | fields  # fmt: skip
        self.chunks[name] = [{"index": n, "state": "PENDING", "attempt": 0, "max_attempts": 2} for n in range(chunks)]
        if chunks > 1:
            self.chunks[name][-1]["finalizer"] = True
        self.event(job, {"type": "CREATED"}, state="QUEUED")
        request = {"request_id": f"request-{name}", "display_name": f"request-{name}", "kind": kind}
        self.call("CreateJob", request, {"job": dict(job), "created": True})

    def claim(self, name: str, index: int = 0, worker: str = "alice-worker") -> str:
        """Claim a chunk; return the lease token."""
        job, chunk = self.jobs[name], self.chunks[name][index]
        chunk |= {"state": "PROCESSING", "attempt": chunk["attempt"] + 1, "start_time": int(self.now) + 1}
        token = f"lease-{name}-{index}-{chunk['start_time']}"
        self.event(job, {"type": "CLAIMED", "chunk_index": index}, chunks=(chunk,), state="RUNNING")
        claimed = {"lease": {"token": token}, "job_id": name, "kind": job["kind"], "chunk": dict(chunk)}
        self.call("ClaimChunks", {"request_id": token}, {"chunks": [claimed]}, client=worker)
        return token

    def complete(self, name: str, token: str, index: int = 0, worker: str = "alice-worker", *, ends: bool) -> None:
        """Complete a chunk, and with the last one its job."""
        chunk, summary = self.chunks[name][index], self.jobs[name]["chunks_summary"]
        chunk |= {"state": "COMPLETED", "progress": {"message": f"{token} last"}, "output": {"mark": token}}
        self.jobs[name]["chunks_summary"] = summary | {"completed": summary.get("completed", 0) + 1}
        change = {"type": "CHUNK_COMPLETED", "chunk_index": index}
        self.event(self.jobs[name], change, chunks=(chunk,), state="COMPLETED" if ends else "RUNNING")
        said = {"lease_token": token, "progress": {"message": f"{token} last"}, "output": {"mark": token}}
        self.call("CompleteChunks", {"completions": [said]}, _result(token), client=worker)

    def heartbeat(self, token: str, status: str = "OK", worker: str = "alice-worker") -> Call:
        """Report on a lease, without a change."""
        return self.call("Heartbeat", {"reports": [{"lease_token": token}]}, _result(token, status), client=worker)

    def fail(self, name: str, token: str) -> None:
        """Fail a chunk for good, and its job."""
        chunk = self.chunks[name][0]
        chunk["state"] = "FAILED"
        self.event(self.jobs[name], {"type": "CHUNK_FAILED", "chunk_index": 0}, chunks=(chunk,), state="FAILED")
        self.call("FailChunks", {"failures": [{"lease_token": token}]}, _result(token), client="alice-worker")

    def retry(self, name: str) -> None:
        """Retry a job."""
        self.chunks[name][0]["state"] = "PENDING"
        self.event(self.jobs[name], {"type": "RETRIED"}, chunks=(self.chunks[name][0],), state="QUEUED")
        self.call("RetryJob", {"job_id": name}, {"job": dict(self.jobs[name])})

    def delete(self, name: str) -> None:
        """Delete a job."""
        job = self.jobs.pop(name)
        self.event(job, {"type": "DELETED", "to_state": ""})
        self.call("DeleteJob", {"job_id": name})

    def watch(self, client: str, *streams: list[Message], method: str = "WatchJobs", **request: Any) -> list[Call]:
        """Add a watcher: one call for each stream, the later ones with the last cursor of the one before."""
        calls, cursor = [], ""
        for number, messages in enumerate(streams):
            resumed = {"cursor": cursor} if cursor else {}
            ended = "CANCELLED" if number == len(streams) - 1 else "UNAVAILABLE"
            call = self.call(method, request | resumed, client=client, code=ended)
            call.start, call.end, call.messages = (
                messages[0].time - 0.5,
                messages[-1].time + 0.5,
                list(map(replace, messages)),
            )
            cursor = messages[-1].cursor
            calls.append(call)
        return calls


def _named(states: Fields) -> Fields:
    return {name: state for name, state in states.items() if state}


def _result(token: str, status: str = "OK") -> Fields:
    return {"results": [{"lease_token": token, "status": status}]}


def bookmark(cursor: str) -> Message:
    """Return a bookmark."""
    return Message(1.0, "BOOKMARK", cursor)


def message_of(event: Event, merged: int = 0) -> Message:
    """Return the message about an event."""
    kind, state = event.job["kind"], event.job["state"]
    form = "DELETED" if event.is_last else "CHANGED"
    return Message(event.position * 1.0, form, f"cursor-{event.position}", event.uid, ALICE, kind, state,
                   event.revision, event.position, event.commit_time, merged, event.digest)  # fmt: skip


def snapshot_of(event: Event) -> Message:
    """Return the snapshot of a job as it is after an event."""
    message = message_of(event)
    message.type, message.position, message.digest = "SNAPSHOT", 0, 0
    return message


def told_story() -> History:
    """Return the history: jobs that are completed, retried, deleted, and watched in every form."""
    story = Story()
    story.create("deleted")
    story.delete("deleted")
    listed = len(story.history.events)
    story.create("batch", chunks=3, unique_key="key")
    for index in range(3):
        token = story.claim("batch", index)
        story.heartbeat(token)
        story.complete("batch", token, index, ends=index == 2)
    story.create("again", "limited", unique_key="key")
    failed = story.claim("again")
    story.fail("again", failed)
    story.retry("again")
    token = story.claim("again", worker="alice-other")
    story.heartbeat(failed, "LEASE_LOST")
    story.complete("again", token, worker="alice-other", ends=True)
    story.call("GetJob", {"job_id": "again"}, {"job": dict(story.jobs["again"])})
    story.call("CreateJob", {"display_name": "request-refused"}, code="RESOURCE_EXHAUSTED", reason="QUOTA_EXCEEDED")
    story.call("GetJob", {"job_id": "batch"}, code="NOT_FOUND", owner=MALLORY, client=MALLORY)
    story.call("PauseKind", {"owner": ALICE, "kind": "other"}, owner="admin", client="admin")
    story.call("ResumeKind", {"owner": ALICE, "kind": "other"}, owner="admin", client="admin")
    story.create(LAST, "sentinel")
    _watchers(story, listed)
    for name, job in story.jobs.items():
        story.history.jobs[job["uid"]] = job | {"chunks": story.chunks[name]}
    story.history.faults.append(Fault("kill a server", 50.0, 51.0))
    return story.history


def _watchers(story: Story, listed: int) -> None:
    """Add the watchers: in both modes, resumed, after a list, from snapshots, of unfinished jobs and of one job."""
    events = story.history.events
    messages = [message_of(event) for event in events]
    story.watch("alice-every", [bookmark("start"), *messages[:6]], messages[6:], mode="EVERY")
    page = story.call("ListJobs", {}, {"cursor": "page", "jobs": []}, client="alice-listing")
    page.start, page.end = -2.0, -1.0
    [after_list] = story.watch("alice-listing", messages[listed:], mode="EVERY", cursor="page")
    after_list.start = 0.5
    created = next(event for event in events if event.job_id == "batch")
    snapshots = [snapshot_of(created), bookmark("snapshots")]
    story.watch("alice-snapshot", [*snapshots, *messages[created.position :]], mode="EVERY")
    again = [event for event in events if event.job_id == "again"]
    merged = [message_of(again[3], merged=3), *(message_of(event) for event in again[4:])]
    others = [message for message in messages if message.uid != "uid-again"]
    latest = sorted([*others, *merged], key=lambda message: message.position)
    story.watch("alice-latest", [bookmark("latest"), *latest], mode="LATEST")
    batch = [message_of(event) for event in events if event.job_id == "batch"]
    [single] = story.watch("alice-single", [snapshot_of(created), *batch[1:]], method="WatchJob", job_id="batch")
    single.code = "OK"
