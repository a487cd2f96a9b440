"""What is kept of encoded jobs is true: no read sees a job as it was before a change that was acknowledged."""

import asyncio

from jobledger_service.core.api.encoded_jobs import MAX_CHANGES, MAX_REPLY_SECONDS, EncodedJobs, Reading
from jobledger_service.core.database.rows.entry import Entry
from jobledger_service.core.database.rows.reads import JobRead, View
from jobledger_service.core.model.job import Outputs
from jobledger_service.core.model.states import JobState
from jobledger_service.core.write.batch import Commit

MINE, OTHER = "me/job", "me/other"
PART = b"\n\x05hello"


def read_of(key: str, **fields: object) -> JobRead:
    """Return a job without anything in it."""
    return JobRead(key, JobState.RUNNING, 1, 0, 0, "", 1, b"", 0, **fields)  # type: ignore[arg-type]


def commit(*keys: str, position: int | None = None, paused: str = "") -> Commit:
    """Return a commit that touched jobs, with an event at a position."""
    entries = [] if position is None else [Entry(position, keys[0], 1, None, None, ended=False, stored=b"")]
    return Commit(entries, touched=keys, pauses={(paused, "kind"): 0} if paused else {})


def reading(kept: EncodedJobs, *, with_outputs: bool = True, checked: bool = True, view: View = View.BASIC) -> Reading:
    """Begin to read."""
    return kept.reading("me", view, with_outputs=with_outputs, checked=checked)


async def test_a_job_is_known_until_it_changes():
    kept = EncodedJobs(7)
    reading(kept).add([(read_of(MINE), PART), (read_of(OTHER), PART)], 7)
    await asyncio.sleep(0)
    assert kept.job(MINE, View.BASIC) == PART
    assert kept.job(MINE, View.FULL) is None
    assert kept.jobs("me", [MINE, OTHER], View.BASIC) == 2 * PART
    kept.on_commit(commit(MINE, position=8))
    assert kept.job(MINE, View.BASIC) is None
    assert kept.jobs("me", [MINE, OTHER], View.BASIC) is None
    assert reading(kept).known([MINE, OTHER], 8) == {OTHER: PART}


async def test_what_was_read_before_a_change_is_not_kept_after_it():
    kept = EncodedJobs(7)
    early, early_list = reading(kept), reading(kept)
    kept.on_commit(commit(MINE))  # without an event
    early.add([(read_of(MINE), PART), (read_of(OTHER), PART)], 7)
    kept.add_reply("me", b"list", View.BASIC, PART, early_list.begun)
    await asyncio.sleep(0)
    assert kept.job(MINE, View.BASIC) is None
    assert kept.job(OTHER, View.BASIC) == PART
    assert kept.reply("me", b"list", View.BASIC) is None


async def test_it_forgets_which_jobs_changed_on_the_safe_side():
    kept = EncodedJobs(0)
    early = reading(kept)
    for number in range(MAX_CHANGES + 1):
        kept.on_commit(commit(f"me/{number}"))
    early.add([(read_of("me/0"), PART), (read_of("me/never"), PART)], 0)
    await asyncio.sleep(0)
    assert kept.job("me/0", View.BASIC) is None
    assert kept.job("me/never", View.BASIC) is None


async def test_a_snapshot_knows_only_jobs_as_they_are_at_its_position():
    kept = EncodedJobs(7)
    reading(kept).add([(read_of(MINE), PART)], 9)  # a commit was read before this process heard of it
    reading(kept).add([(read_of(OTHER), PART)], 7)
    await asyncio.sleep(0)
    assert reading(kept).known([MINE, OTHER], 7) == {OTHER: PART}, "one was read later"
    assert reading(kept).known([MINE, OTHER], 9) == {}, "what changed until there is not known yet"
    kept.on_commit(commit("me/third", position=9))
    assert reading(kept).known([MINE, OTHER], 9) == {MINE: PART, OTHER: PART}


async def test_a_pause_changes_all_jobs_of_its_owner_and_no_others():
    kept = EncodedJobs(0)
    early = reading(kept)
    early.add([(read_of(MINE), PART), (read_of("you/job"), PART)], 0)
    kept.add_reply("me", b"list", View.BASIC, PART, early.begun)
    kept.add_reply("you", b"list", View.BASIC, PART, early.begun)
    await asyncio.sleep(0)
    kept.on_commit(commit(paused="me"))
    assert kept.job(MINE, View.BASIC) is None
    assert kept.jobs("me", [MINE], View.BASIC) is None
    assert reading(kept).known([MINE], 0) == {}
    assert kept.reply("me", b"list", View.BASIC) is None
    assert kept.job("you/job", View.BASIC) == PART
    assert kept.reply("you", b"list", View.BASIC) == PART


async def test_lists_get_neither_outputs_nor_what_json_cannot_represent():
    kept = EncodedJobs(0)
    reading(kept).add([(read_of(MINE, outputs=Outputs(b"output"), output_bytes=6), PART)], 0)
    reading(kept, checked=False).add([(read_of(OTHER), PART)], 0)
    reading(kept, with_outputs=False).add([(read_of("me/ended", output_bytes=6), PART)], 0)
    await asyncio.sleep(0)
    assert reading(kept).known([MINE, OTHER], 0) == {MINE: PART}
    assert reading(kept, with_outputs=False).known([MINE, OTHER], 0) == {}
    assert kept.job("me/ended", View.BASIC) is None, "its output was not read"


async def test_a_place_in_a_queue_is_not_kept_because_it_changes_with_other_jobs():
    kept = EncodedJobs(0)
    reading(kept).add([(read_of(MINE, place=3), PART)], 0)
    await asyncio.sleep(0)
    assert kept.job(MINE, View.BASIC) is None


async def test_the_reply_of_a_list_is_kept_until_a_job_of_its_owner_changes_and_for_some_seconds():
    now = 0.0
    kept = EncodedJobs(0, monotonic=lambda: now)
    kept.add_reply("me", b"list", View.BASIC, PART, reading(kept).begun)
    kept.on_commit(commit("you/job", position=1))
    assert kept.reply("me", b"list", View.BASIC) == PART
    assert kept.reply("me", b"another", View.BASIC) is None
    now = MAX_REPLY_SECONDS + 1
    assert kept.reply("me", b"list", View.BASIC) is None
    kept.add_reply("me", b"list", View.BASIC, PART, reading(kept).begun)
    kept.on_commit(commit(MINE, position=2))
    assert kept.reply("me", b"list", View.BASIC) is None


async def test_what_is_kept_has_a_bound():
    kept = EncodedJobs(0, max_bytes=40_000)
    for number in range(100):
        reading(kept).add([(read_of(f"me/{number}"), bytes(1_000))], 0)
        kept.add_reply("me", str(number).encode(), View.BASIC, bytes(1_000), reading(kept).begun)
    await asyncio.sleep(0)
    there = [number for number in range(100) if kept.job(f"me/{number}", View.BASIC)]
    assert there == list(range(100 - len(there), 100))
    assert len(there) == 30_000 // 1_300
    assert sum(kept.reply("me", str(n).encode(), View.BASIC) is not None for n in range(100)) == 10_000 // 1_300
