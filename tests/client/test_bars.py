"""What a terminal shows of a job."""

from collections.abc import Callable
from io import StringIO

import pytest
from jobledger.v1.chunk_pb2 import Chunk, ChunkProgress, ChunkRange
from jobledger.v1.job_pb2 import ChunksSummary, Job, Progress
from jobledger.v1.job_service_pb2 import WatchJobResponse
from jobledger_client import ChunkState, JobState
from jobledger_client.cli import _tables
from jobledger_client.cli._live._bars import Bars
from jobledger_client.cli._live._watched_job import WatchedJob
from rich.console import Console
from rich.table import Table

PROCESSING, COMPLETED = ChunkState.PROCESSING, ChunkState.COMPLETED


def message(*chunks: Chunk, ranges: tuple[ChunkRange, ...] = (), omitted: bool = False) -> WatchJobResponse:
    job = Job(
        job_id="one",
        display_name="[bold]cats\x1b[2J",
        state=JobState.RUNNING,
        progress=Progress(
            percent=42.5, items_completed=1_000, items_total=2_500, items_per_second=12.5, stage="resize"
        ),
        chunks_summary=ChunksSummary(total=7, processing=1, completed=2, pending=4),
    )
    return WatchJobResponse(job=job, chunks=chunks, chunk_ranges=ranges, chunks_omitted=omitted)


def chunk(index: int, state: ChunkState = PROCESSING) -> Chunk:
    return Chunk(index=index, state=state, worker="w1", progress=ChunkProgress(percent=50, stage="resize"))


def show(console: Console, *messages: WatchJobResponse) -> None:
    view = WatchedJob()
    with Bars(console, view, lambda: None) as bars:
        for one in messages:
            view.apply(one)
            bars.show(one)


def in_work(view: WatchedJob) -> list[int]:
    return sorted(view.chunks.in_work)


def test_a_terminal_shows_the_job_and_its_chunks_in_work():
    printed = StringIO()
    console = Console(file=printed, force_terminal=True, width=120)
    show(console, message(chunk(2)))
    text = printed.getvalue()
    for part in ("42.5 %", "RUNNING", "50.0 %", "w1 chunk 2", "resize", "1,000 of 2,500 items", "12.5 items/s"):
        assert part in text
    assert "[bold]cats" in text
    assert "\x1b[2J" not in text  # what a caller named a job clears nobody's screen


def test_a_narrow_terminal_shows_every_percent():
    reported = message(chunk(2))
    reported.job.display_name = "a long name " * 5
    reported.chunks[0].progress.message = "a long sentence " * 5
    printed = StringIO()
    show(Console(file=printed, force_terminal=True, width=80), reported)
    text = printed.getvalue()
    assert all(part in text for part in ("42.5 %", "RUNNING", "chunk 2", "50.0 %"))


@pytest.mark.parametrize("table", [_tables.jobs, _tables.statuses])
def test_on_a_narrow_terminal_a_job_is_one_line(table: Callable[..., Table]):
    progress = Progress(percent=42.5, stage="transcode_720p")
    job = Job(job_id="0" * 36, kind="transcode.video", display_name="Lectures " * 9, progress=progress)
    job.state = JobState.CANCELLING
    printed = StringIO()
    Console(file=printed, width=80).print(table([job], width=80))
    [_, line] = printed.getvalue().splitlines()
    assert line.split()[:4] == ["0" * 36, "CANCELLING", "42.5", "%"]
    assert line.rstrip().endswith("…")


def test_counts_of_a_report_are_in_one_order():
    assert _tables.report_counts(
        {"refused": 1_000, "artifact_jobs": 2, "applied": 3, "refusals": [], "unchanged": 0}
    ) == ("3 applied, 0 unchanged, 1,000 refused, 2 artifact jobs")


def test_elsewhere_each_change_is_a_line():
    printed = StringIO()
    show(Console(file=printed, width=1_000), message(chunk(2)), message(chunk(3)))
    lines = printed.getvalue().splitlines()
    assert len(lines) == 2
    assert "RUNNING  42.5 %  7 chunks: 2 completed, 1 processing, 4 pending  1,000 of 2,500 items  resize" in lines[0]


def test_chunks_come_and_go():
    view = WatchedJob()
    view.apply(message(chunk(3), chunk(1)))
    assert in_work(view) == [1, 3]
    view.apply(message(chunk(3, COMPLETED), chunk(4)))
    assert in_work(view) == [1, 4]
    view.apply(message(chunk(5), ranges=(ChunkRange(first_index=0, last_index=4),)))
    assert in_work(view) == [5]
    view.apply(message(chunk(6), omitted=True))
    assert in_work(view) == [6]
