"""Violations of guarantees, each planted into the history of a run."""

from collections.abc import Callable
from dataclasses import replace

from tests.torture.history import Call, History, Message
from tests.torture.story import MALLORY
from tests.torture.world import LostTail

Plant = Callable[[History], object]
PLANTS: list[tuple[str, Plant]] = []


def plants(name: str) -> Callable[[Plant], Plant]:
    """Name the guarantee that a function violates."""

    def register(plant: Plant) -> Plant:
        PLANTS.append((name, plant))
        return plant

    return register


def stream(history: History, client: str, number: int = 0) -> list[Message]:
    """Return the messages of a watcher's stream."""
    return call_of(history, client=f"alice-{client}", number=number, methods=("WatchJobs", "WatchJob")).messages


def call_of(history: History, number: int = 0, methods: tuple[str, ...] = (), **fields: str) -> Call:
    """Return a call that has these fields."""
    return [
        call for call in history.calls
        if (not methods or call.method in methods) and all(getattr(call, name) == fields[name] for name in fields)
    ][number]  # fmt: skip


def change_event(history: History, number: int, **fields: object) -> None:
    """Change an event of the ledger."""
    history.events[number] = replace(history.events[number], **fields)


def find_event(history: History, job_id: str, change: str, number: int = 0) -> int:
    """Return the index of an event of a job that has a change of this type."""
    return [
        index for index, event in enumerate(history.events) if event.job_id == job_id and change in event.types
    ][number]  # fmt: skip


@plants("3a.1 Current first")
def a_snapshot_lacks_a_job(history: History) -> None:
    call_of(history, client="alice-snapshot").start = 1_000.0
    stream(history, "snapshot")[:] = stream(history, "snapshot")[1:]


@plants("3a.1 Current first")
def a_resumed_stream_begins_with_a_snapshot(history: History) -> None:
    stream(history, "listing")[0].type = "SNAPSHOT"


@plants("3a.2 Ordered")
def two_events_change_places(history: History) -> None:
    messages = stream(history, "every")
    messages[3], messages[4] = messages[4], messages[3]


@plants("3a.2 Ordered")
def a_revision_falls(history: History) -> None:
    stream(history, "latest")[-2].revision = 1


@plants("3a.3 Unique")
def an_event_comes_again_after_a_resume(history: History) -> None:
    stream(history, "every", 1).insert(0, stream(history, "every")[-1])


@plants("3a.4 Reliable")
def an_event_is_skipped(history: History) -> None:
    del stream(history, "every", 1)[2]


@plants("3a.4 Reliable")
def all_of_a_job_is_skipped(history: History) -> None:
    stream(history, "listing")[:] = [message for message in stream(history, "listing") if message.uid != "uid-again"]


@plants("3a.4 Reliable")
def events_are_merged_in_mode_every(history: History) -> None:
    messages = stream(history, "every", 1)
    messages[3].merged, messages[2:3] = 1, []


@plants("3a.4 Reliable")
def a_merge_is_not_told(history: History) -> None:
    next(message for message in stream(history, "latest") if message.merged).merged = 2


@plants("3a.4 Reliable")
def a_watch_of_one_job_skips_an_event(history: History) -> None:
    del stream(history, "single")[3]


@plants("3a.4 Reliable")
def a_stream_falls_silent(history: History) -> None:
    stream(history, "latest").pop()


@plants("3a.5 Atomic")
def a_change_comes_in_part(history: History) -> None:
    stream(history, "every")[4].digest += 1


@plants("3a.6 Resumable")
def a_cursor_is_refused(history: History) -> None:
    call = call_of(history, client="alice-every", number=1)
    call.code, call.reason = "INVALID_ARGUMENT", "FOREIGN_CURSOR"


@plants("3a.6 Resumable")
def history_is_lost_without_a_fail_over(history: History) -> None:
    call = call_of(history, client="alice-every")
    call.code, call.reason = "OUT_OF_RANGE", "HISTORY_LOST"


@plants("3a.6 Resumable")
def a_cursor_from_after_a_fail_over_is_refused_as_lost(history: History) -> None:
    history_is_lost_without_a_fail_over(history)
    history.lost_tails.append(LostTail(kept_position=0, lost_from=-30.0, promoted=-20.0))


@plants("3d.2 What a fail-over lost is told")
def a_tail_is_lost_and_the_stream_goes_on(history: History) -> None:
    """An event that a fail-over has lost is followed by one that has taken its place."""
    history.lost_tails.append(LostTail(kept_position=4, lost_from=0.0, promoted=8.0))
    stream(history, "every")[5].uid = "uid-lost"


@plants("3d.2 What a fail-over lost is told")
def an_event_is_shown_that_was_never_committed(history: History) -> None:
    stream(history, "every")[5].uid = "uid-unknown"


@plants("3a.7 Bookmarkable")
def a_stream_is_silent(history: History) -> None:
    stream(history, "every")[-1].time += 30


@plants("3a.8 Race-free with lists")
def a_job_that_left_is_not_announced(history: History) -> None:
    messages = stream(history, "every")
    deleted = next(message for message in messages if message.type == "DELETED")
    messages.remove(deleted)


@plants("3a.8 Race-free with lists")
def a_listed_job_is_gone_without_a_word(history: History) -> None:
    call_of(history, methods=("ListJobs",)).response["jobs"] = [
        {"uid": "uid-deleted", "job_id": "deleted", "owner": "alice", "revision": 1}
    ]


@plants("3a.9 Ends well")
def a_stream_goes_on_after_the_end_of_its_job(history: History) -> None:
    messages = stream(history, "single")
    messages.append(replace(messages[-1], position=messages[-1].position + 1, revision=messages[-1].revision + 1))


@plants("3a.9 Ends well")
def a_stream_ends_before_its_job(history: History) -> None:
    stream(history, "single").pop()


@plants("3b.1 A refused request fails alone")
def a_refused_creation_creates(history: History) -> None:
    call_of(history, methods=("CreateJob",)).code = "INVALID_ARGUMENT"


@plants("3b.1 A refused request fails alone")
def a_job_appears_that_nobody_asked_for(history: History) -> None:
    history.calls.remove(call_of(history, methods=("CreateJob",)))


@plants("3b.5 No call ends with a defect")
def a_call_ends_with_internal(history: History) -> None:
    call_of(history, methods=("GetJob",)).code = "INTERNAL"


@plants("3b.5 No call ends with a defect")
def a_server_logs_an_error(history: History) -> None:
    history.defects.append("level error")


@plants("3b.8 Nothing of another owner's")
def an_answer_has_a_secret(history: History) -> None:
    call_of(history, owner=MALLORY).response = {"leak": True}


@plants("3b.8 Nothing of another owner's")
def a_stream_shows_another_owners_job(history: History) -> None:
    call = call_of(history, owner=MALLORY)
    call.messages = [stream(history, "every")[1]]


@plants("3b.8 Nothing of another owner's")
def another_owner_changes_a_job(history: History) -> None:
    history.events[4].changes[0]["actor"] = "mallory-key"


@plants("3c.1 Completed means ran")
def a_chunk_is_completed_that_nobody_completed(history: History) -> None:
    history.calls.remove(call_of(history, methods=("CompleteChunks",)))


@plants("3c.2 The last report counts")
def the_last_message_is_missing(history: History) -> None:
    history.events[find_event(history, "batch", "CHUNK_COMPLETED")].chunks[0]["progress"] = {"message": "step 1"}


@plants("3c.5 At most once a lease")
def two_workers_hold_one_lease(history: History) -> None:
    claim = call_of(history, methods=("ClaimChunks",))
    history.calls.append(replace(claim, call_id="second", client="alice-second"))


@plants("3c.5 At most once a lease")
def a_stale_report_is_taken(history: History) -> None:
    stale = next(call for call in history.calls if call.method == "Heartbeat" and _status(call) == "LEASE_LOST")
    stale.response["results"][0]["status"] = "OK"


@plants("3c.9 Nothing is claimed before its time")
def a_chunk_is_claimed_before_its_time(history: History) -> None:
    history.events[find_event(history, "batch", "CLAIMED")].job["schedule_time"] = 1_000


@plants("3d.2 What a fail-over lost is refused")
def a_lease_of_the_lost_time_is_good(history: History) -> None:
    """The claim is of the time that a fail-over lost, and the report of the time after it."""
    claim, report = (call_of(history, methods=(method,)) for method in ("ClaimChunks", "Heartbeat"))
    claim.response["chunks"][0]["chunk"]["start_time"] = 999
    history.lost_tails.append(LostTail(kept_position=2, lost_from=claim.start, promoted=claim.end))
    report.start += 0.5


@plants("3c.6 A report fails alone")
def a_lease_has_no_result(history: History) -> None:
    call_of(history, methods=("Heartbeat",)).response["results"] = []


@plants("3c.14 No chunk of a paused kind is claimed")
def a_chunk_of_a_paused_kind_is_claimed(history: History) -> None:
    paused, claim = (call_of(history, methods=(method,)) for method in ("PauseKind", "ClaimChunks"))
    paused.request["kind"] = call_of(history, methods=("ResumeKind",)).request["kind"] = "plain"
    paused.end = claim.start - 1


@plants("Invariant: positions")
def a_position_is_missing(history: History) -> None:
    del history.events[5]


@plants("Invariant: positions")
def a_revision_is_missing(history: History) -> None:
    change_event(history, find_event(history, "again", "RETRIED"), revision=99)


@plants("3d.1 An acknowledged write survives")
def an_acknowledged_retry_is_gone(history: History) -> None:
    del history.events[find_event(history, "again", "RETRIED")]


@plants("3d.1 An acknowledged write survives")
def an_acknowledged_completion_is_gone(history: History) -> None:
    history.events[find_event(history, "batch", "CHUNK_COMPLETED")].chunks[0]["state"] = "PROCESSING"


@plants("3d.1 An acknowledged write survives")
def a_deleted_job_is_there_again(history: History) -> None:
    change_event(history, find_event(history, "deleted", "DELETED"), changes=())


@plants("3d.1 A read sees what was acknowledged before")
def a_read_is_stale(history: History) -> None:
    call_of(history, methods=("GetJob",)).response["job"]["revision"] = 1


@plants("3d.1 A read sees what was acknowledged before")
def a_job_is_not_found(history: History) -> None:
    call_of(history, methods=("GetJob",)).code = "NOT_FOUND"


@plants("3d.4 A creation takes effect once")
def a_request_creates_two_jobs(history: History) -> None:
    history.events[find_event(history, "again", "CREATED")].job["display_name"] = "request-batch"


@plants("Invariant: states")
def a_completed_job_runs_again(history: History) -> None:
    index = find_event(history, "batch", "CHUNK_COMPLETED", 1)
    history.events[index].changes[0]["to_state"] = "COMPLETED"


@plants("Invariant: states")
def the_percentage_falls(history: History) -> None:
    history.events[find_event(history, "batch", "CLAIMED")].job["progress"] = {"percent": 50.0}


@plants("Invariant: counters equal rows")
def a_count_is_wrong(history: History) -> None:
    history.figures["counts"] = 1


@plants("Invariant: limits")
def two_jobs_run_where_one_may(history: History) -> None:
    for index in (find_event(history, "batch", "CLAIMED", 2), find_event(history, "again", "CLAIMED")):
        history.events[index].job["kind"] = "limited"


@plants("3b.13 No more jobs than the quota")
def there_are_more_unfinished_jobs_than_the_quota(history: History) -> None:
    history.setup["quota"]["alice"] = 0


@plants("Invariant: unique keys")
def two_unfinished_jobs_have_one_key(history: History) -> None:
    job = history.events[find_event(history, "again", "CREATED")].job
    last = history.events[-1].job
    last["unique_key"], last["kind"], job["unique_key"] = "twice", job["kind"], "twice"
    for event in history.events[find_event(history, "again", "CREATED") + 1 : -1]:
        event.job.pop("unique_key", None)


@plants("3c.10 A finalizer waits for all others")
def a_finalizer_begins_too_early(history: History) -> None:
    history.events[find_event(history, "batch", "CLAIMED", 2)].job["chunks_summary"] = {"total": 3, "completed": 1}


@plants("Invariant: outputs")
def an_output_is_another_chunks(history: History) -> None:
    history.jobs["uid-batch"]["chunks"][0]["output"] = {"mark": "other"}


@plants("Invariant: attempts")
def a_chunk_has_too_many_attempts(history: History) -> None:
    history.events[find_event(history, "batch", "CLAIMED")].chunks[0]["attempt"] = 3


@plants("Invariant: attempts")
def a_job_is_stored_otherwise_than_in_the_ledger(history: History) -> None:
    history.jobs["uid-batch"]["state"] = "FAILED"


def _status(call: Call) -> str:
    return str(call.response["results"][0]["status"])
