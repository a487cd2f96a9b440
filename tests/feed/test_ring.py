"""The ring keeps the newest entries of each owner without a gap, and says how far back it reaches."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from jobledger_service.core.database.rows.entry import JOB_ITSELF, ArtifactsKey, Entry
from jobledger_service.core.watch.pages import MAX_PAGE_BYTES, MAX_PAGE_ENTRIES, count_of_page
from jobledger_service.core.watch.ring import EntryLog, Ring
from msgspec.structs import replace

OWNERS = ("alice", "bob", "carol")
MAX_ENTRIES, MAX_BYTES = 32, 3_200


def entry(position: int, owner: str = "alice", job: int = 0, size: int = 10) -> Entry:
    """Return an entry of so many bytes; what it tells is nothing to the ring."""
    message = b"x" * size
    key = f"{owner}/{job}"
    return Entry(position, key, 1, None, None, ended=False, stored=message)


appended = st.tuples(st.just("append"), st.sampled_from(OWNERS), st.integers(0, 2), st.sampled_from((1, 100, 900)))
steps = st.lists(
    st.one_of(
        appended,
        appended,
        appended,
        st.tuples(st.just("pass over"), st.integers(1, 3)),
        st.tuples(st.just("forget"), st.integers(0, 40)),
        st.tuples(st.just("begin"), st.integers(0, 2)),
    ),
    max_size=150,
)


@given(steps, st.integers(0, 5))
def test_what_the_ring_covers_it_has_without_a_gap(history: Sequence[tuple], head: int):
    ring = Ring(head, max_entries=MAX_ENTRIES, max_bytes=MAX_BYTES)
    written: list[Entry] = []
    for what, *given_ in history:
        match what:
            case "append":
                owner, job, size = given_
                written.append(entry(ring.head + 1, owner, job, size))
                ring.append(written[-1])
            case "pass over":
                ring.advance_to(ring.head + given_[0])
            case "forget":
                ring.forget(given_[0])
            case "begin":
                ring.reset_to(ring.head + given_[0])
        check(ring, written)


def check(ring: Ring, written: Sequence[Entry]) -> None:
    """Hold that a reader of the ring reads what one of all that was written would, wherever the ring lets him begin."""
    kept = 0
    for owner in OWNERS:
        assert ring.covers(owner, ring.head), "who has read all needs nothing more"
        covered = [position for position in range(ring.head + 1) if ring.covers(owner, position)]
        assert covered == list(range(covered[0], ring.head + 1)), "what is covered reaches to the head"
        after = [one for one in written if one.position > covered[0] and one.job_key.startswith(owner)]
        page = ring.after(covered[0], owner, None)
        assert list(page.entries) == after
        assert (page.after, page.through, page.complete) == (covered[0], ring.head, True)
        for key in {one.job_key for one in after}:
            of_job = ring.after(covered[0], owner, key)
            assert list(of_job.entries) == [one for one in after if one.job_key == key]
        kept += sum(max(one.size, MAX_BYTES // MAX_ENTRIES) for one in after)
    assert kept <= MAX_BYTES


def test_a_ring_that_is_full_keeps_the_newest():
    ring = Ring(0, max_entries=MAX_ENTRIES, max_bytes=MAX_BYTES)
    for position in range(1, 1_001):
        ring.append(entry(position))
        assert ring.covers("alice", position - 1), "the newest entry is always there"
    assert ring.covers("alice", 1_000 - MAX_ENTRIES // 2)
    assert not ring.covers("alice", 1_000 - MAX_ENTRIES - 1)


def with_artifacts(position: int, revision: int) -> Entry:
    """Return an entry with artifacts of 1,000 bytes of its own, equal to those of others of the version."""
    raw = bytes(bytearray(1_000))
    stored = b"x" * 10
    return replace(
        entry(position),
        stored=stored,
        parts=[b"head", raw, stored],
        artifacts={ArtifactsKey("alice/j0", 1, JOB_ITSELF, revision): raw},
    )


def test_entries_of_one_version_keep_its_artifacts_once():
    ring = Ring(0, max_entries=1_000, max_bytes=8_000)
    added = [ring.append(with_artifacts(position, revision=1 + position // 5)) for position in range(1, 30)]
    assert len({id(raw) for one in added for raw in one.artifacts.values()}) == 6
    assert len({id(one.parts[1]) for one in added}) == 6
    assert ring.covers("alice", 0), "all are kept: six versions and 29 entries are less than 8,000 bytes"
    for position in range(30, 61):
        ring.append(with_artifacts(position, revision=1 + position // 5))
    kept = ring.after(next(position for position in range(61) if ring.covers("alice", position)), "alice", None)
    assert 25 <= len(kept.entries) < 40
    ring.forget(60)
    assert ring.append(with_artifacts(61, revision=13)).artifacts


def test_an_owner_whose_entries_are_gone_is_not_covered_where_they_were():
    ring = Ring(0, max_entries=MAX_ENTRIES, max_bytes=MAX_BYTES)
    ring.append(entry(1, "bob"))
    ring.append(entry(2, "alice"))
    ring.forget(1)
    assert not ring.covers("bob", 0)
    assert not ring.covers("carol", 0), "of her the ring knows no more than of bob"
    assert ring.covers("alice", 0)
    assert ring.covers("bob", 1)


@given(st.lists(st.one_of(st.none(), st.integers(1, 3)), max_size=200), st.integers(0, 600))
def test_a_log_is_a_list_of_which_the_beginning_was_dropped(history: list[int | None], requested: int):
    log, model, position = EntryLog(), list[Entry](), 0
    for step in history:
        if step is not None:
            position += step
            model.append(entry(position))
            log.append(model[-1])
        elif model:
            assert log.drop_oldest() is model.pop(0)
        assert len(log) == len(model)
        assert not model or log.oldest is model[0]
    assert log.after(requested) == ([one for one in model if one.position > requested], False)


def test_a_log_gives_a_page_at_a_time_and_reports_that_there_is_more():
    log, read = EntryLog(), list[int]()
    for position in range(1, 2 * MAX_PAGE_ENTRIES + 6):
        log.append(entry(position))
    pages = []
    more = True
    while more:
        found, more = log.after(read[-1] if read else 0)
        pages.append(len(found))
        read += [one.position for one in found]
    assert pages == [MAX_PAGE_ENTRIES, MAX_PAGE_ENTRIES, 5]
    assert read == list(range(1, 2 * MAX_PAGE_ENTRIES + 6))


@given(st.lists(st.sampled_from((1, 1_000, MAX_PAGE_BYTES // 3, MAX_PAGE_BYTES, 2 * MAX_PAGE_BYTES)), max_size=20))
def test_a_page_ends_with_the_entry_that_goes_past_its_bytes(sizes: list[int]):
    entries = [entry(position, size=size) for position, size in enumerate(sizes, 1)]
    count = count_of_page(entries)
    assert count >= min(1, len(entries)), "a reader always comes on"
    assert sum(sizes[: count - 1]) < MAX_PAGE_BYTES or count <= 1
    assert count == len(entries) or sum(sizes[:count]) >= MAX_PAGE_BYTES
