"""The chunk map and the sparkline of a terminal: what is folded into a cell, and how messages and lists are joined."""

from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobledger.v1.chunk_pb2 import Chunk, ChunkRange, WorkError
from jobledger.v1.job_pb2 import ChunksSummary, Job
from jobledger.v1.job_service_pb2 import ListChunksResponse, WatchJobResponse
from jobledger_client import ChunkState
from jobledger_client.cli._live import _chunk_map
from jobledger_client.cli._live._chunk_map import Folding, cells, chunk_map, mix
from jobledger_client.cli._live._chunk_states import ChunkStates, Shown
from jobledger_client.cli._live._rates import BUCKET_SECONDS, RateHistory, sparkline
from rich.console import Console

pytestmark = pytest.mark.fast

PENDING, PROCESSING, COMPLETED = ChunkState.PENDING, ChunkState.PROCESSING, ChunkState.COMPLETED
FAILED, CANCELLED = ChunkState.FAILED, ChunkState.CANCELLED
TOTAL = 1_200


def chunk(index: int, state: ChunkState, code: str = "") -> Chunk:
    error = WorkError(code=code, stage="encode") if code else None
    return Chunk(index=index, state=state, worker="w", error=error)


def message(revision: int, *chunks: Chunk, merged: int = 0, ranges: tuple[ChunkRange, ...] = ()) -> WatchJobResponse:
    job = Job(job_id="one", revision=revision, chunks_summary=ChunksSummary(total=TOTAL))
    return WatchJobResponse(job=job, chunks=chunks, merged_revision_count=merged, chunk_ranges=ranges)


def loaded(*chunks: Chunk) -> ChunkStates:
    """Return the chunks of a job after its first message and a list of those that are not COMPLETED."""
    states = ChunkStates()
    states.apply(message(1))
    states.begin_load()
    states.end_load([ListChunksResponse(chunks=chunks)])
    return states


@given(chunks=st.integers(1, 20_000), width=st.integers(20, 300), rows=st.integers(1, 60))
def test_every_chunk_has_a_place_in_the_lines_that_there_are(chunks: int, width: int, rows: int):
    folding = Folding.of(chunks, width=width, rows=rows)
    lines = chunk_map(bytes([Shown.PENDING]) * chunks, width=width, rows=rows).plain.splitlines()
    assert len(lines) - 1 <= rows
    assert all(len(line) <= width for line in lines[:-1])
    drawn = "".join(line.split()[1] for line in lines[:-1])
    assert (len(drawn) - 1) * folding.per_cell < chunks <= len(drawn) * folding.per_cell


@pytest.mark.guarantee("3e.10")
@given(st.lists(st.sampled_from(Shown), min_size=1, max_size=60), st.integers(1, 20))
def test_no_failure_is_folded_away(marks: list[Shown], per_cell: int):
    row = cells(marks, per_cell)
    for place, cell in enumerate(row):
        highest = max(marks[place * per_cell : (place + 1) * per_cell])
        assert (cell == "X") == (highest == Shown.FAILED)
        assert (cell == "▸") == (highest == Shown.PROCESSING)


def test_a_cell_is_filled_as_far_as_its_chunks_are_completed():
    row = cells([1] * 9 + [2] + [1] * 2 + [2] * 8 + [1] * 10 + [2] * 10, 10)
    assert row == "▇▂█·"


def test_states_differ_without_colours():
    marks = bytes([Shown.COMPLETED, Shown.PENDING, Shown.CANCELLED, Shown.PROCESSING, Shown.RETRYING, Shown.FAILED, 7])
    printed = StringIO()
    Console(file=printed, force_terminal=True, no_color=True, width=120).print(chunk_map(marks, width=120, rows=3))
    map_line, legend = printed.getvalue().splitlines()
    assert "\x1b[3" not in printed.getvalue()
    assert len(set(cells(marks, 1))) == len(marks) == 7
    assert all(word in legend for word in ("1 completed", "1 in work", "1 to retry", "1 failed", "1 unreadable"))
    assert "0" in map_line


def test_a_mix_shows_whatever_occurs():
    counts = [(Shown.COMPLETED, 9_000), (Shown.FAILED, 1), (Shown.PROCESSING, 3), (Shown.PENDING, 996)]
    bar = mix(counts, 20)
    assert bar.plain == "█" * 17 + "X" + "▸" + "·"
    assert mix([(Shown.PENDING, 0)], 20).plain == "·" * 20
    assert set(bar.plain) <= set(_chunk_map._STYLES)


def test_a_list_leaves_out_the_completed_and_messages_say_the_rest():
    states = loaded(*(chunk(index, PENDING) for index in range(200, TOTAL)))
    assert bytes(states.marks) == bytes([Shown.COMPLETED]) * 200 + bytes([Shown.PENDING]) * 1_000
    states.apply(message(2, chunk(200, PROCESSING)))
    states.apply(message(3, chunk(200, PENDING, "CUDA_OUT_OF_MEMORY"), chunk(201, PROCESSING)))
    assert list(states.marks[199:203]) == [Shown.COMPLETED, Shown.RETRYING, Shown.PROCESSING, Shown.PENDING]
    assert (list(states.in_work), states.errors) == ([201], {200: ("CUDA_OUT_OF_MEMORY", "encode")})
    states.apply(message(4, ranges=(ChunkRange(first_index=200, last_index=TOTAL - 1, state=CANCELLED),)))
    assert bytes(states.marks[200:]) == bytes([Shown.CANCELLED]) * 1_000
    assert (states.in_work, states.errors, states.needs_load) == ({}, {}, False)


def test_a_message_during_a_load_is_newer_than_the_list():
    states = loaded()
    states.begin_load()
    states.apply(message(2, chunk(7, COMPLETED), chunk(8, FAILED, "BAD")))
    pages = [ListChunksResponse(chunks=[chunk(7, PROCESSING), chunk(9, PROCESSING)]), ListChunksResponse()]
    pages[1].unreadable_chunk_indexes.append(10)
    states.end_load(pages)
    assert list(states.marks[7:11]) == [Shown.COMPLETED, Shown.FAILED, Shown.PROCESSING, Shown.UNREADABLE]
    assert (list(states.in_work), states.errors) == ([9], {8: ("BAD", "encode")})


@pytest.mark.guarantee("3e.10")
def test_what_a_watch_left_out_is_listed_again():
    states = loaded()
    states.apply(message(2))
    assert not states.needs_load
    states.apply(message(9, merged=6))
    assert not states.needs_load, "all of the revisions between were merged into it"
    states.apply(message(12))
    assert states.needs_load, "two revisions are missing"
    omitted = message(13)
    omitted.chunks_omitted = True
    states = loaded()
    states.apply(omitted)
    assert states.needs_load


def test_a_snapshot_with_all_chunks_needs_no_list():
    states = ChunkStates()
    whole = message(1)
    whole.job.chunks.extend(
        chunk(index, PENDING if index else FAILED, "" if index else "BAD") for index in range(TOTAL)
    )
    states.apply(whole)
    assert (states.needs_load, states.marks[0], len(states.marks)) == (False, Shown.FAILED, TOTAL)


def test_a_sparkline_has_the_buckets_that_are_over():
    history = RateHistory(100.0)
    for second in range(20):
        history.add(second % 4, 100.0 + second)
    assert history.values(120.0) == [1, 5] * 5
    assert history.values(120.0 + 3 * BUCKET_SECONDS) == [1, 5] * 5 + [0] * 3
    assert set(history.values(10_000.0)) == {0}
    line = sparkline([1, 5, 0, 10], "items", width=80).plain
    assert line == "▂▅▁█  items/s, at most 5.0 in the last 8 s"
