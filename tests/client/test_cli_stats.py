"""`jobledger stats` and `jobledger top` against a real server, on a real terminal too."""

import codecs
import os
import pty
import re
import signal
import subprocess
from contextlib import suppress
from datetime import timedelta
from io import StringIO
from itertools import pairwise
from threading import Condition, Thread
from typing import Self

import pytest
from jobledger.v1.job_pb2 import Job, Progress
from jobledger.v1.stats_pb2 import JobActivity, StatsPoint
from jobledger.v1.worker_service_pb2 import ChunkFailure, LeaseReport
from jobledger_client import JobClient, JobState
from jobledger_client.cli import _stats_tables
from jobledger_client.cli._live._dashboard import Dashboard
from rich.console import Console

from tests.client.shell import COMMAND, Shell, complete
from tests.support.bounds import BOUND

pytestmark = pytest.mark.one_store("the command line sees messages, not the store")


class Terminal:
    """`jobledger` on a terminal of 120 by 40. What it shows is read at once: a full terminal stops who writes to it."""

    def __init__(self, shell: Shell, *words: str) -> None:
        self.ours, theirs = pty.openpty()
        size = {"COLUMNS": "120", "LINES": "40", "TERM": "xterm"}
        streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        self.process = subprocess.Popen([COMMAND, *words], env=shell.environment | size, **streams)
        os.close(theirs)
        self._shown = ""
        self._changed = Condition()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        with suppress(OSError):  # the process has ended
            while raw := os.read(self.ours, 65_536):
                with self._changed:
                    self._shown += decoder.decode(raw)
                    self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(BOUND)
        os.close(self.ours)

    def until(self, *wanted: str) -> None:
        """Wait until the terminal has shown these, since this was last called."""
        with self._changed:
            came = self._changed.wait_for(lambda: all(one in self._shown for one in wanted), BOUND)
            assert came, f"{wanted} did not come; shown was {self._shown!r}"
            self._shown = ""

    def end(self) -> int:
        """Return the exit code, once the process has ended."""
        return self.process.wait(BOUND)


def test_stats_shows_a_row_for_each_kind(shell: Shell, sync_client: JobClient, kind: str):
    shell("create", kind, "--items", "1200")
    complete(sync_client, kind)
    shell("create", kind, "--max-attempts", "1")
    [claimed] = sync_client.leases.claim_chunks([kind], worker="w")
    sync_client.leases.fail_chunks([ChunkFailure(lease_token=claimed.lease.token, error={"code": "BOOM"})])
    shell("create", kind)
    text = shell("stats", "--kind", kind)
    [row] = [line for line in text.splitlines() if kind in line]
    assert row.split()[:5] == [kind, "1", "0", "1+0", "0"]
    assert re.fullmatch(r"\d+s", row.split()[5]), "the age of the oldest"
    assert row.split()[6:10] == ["1", "1", "50.0", "%"]
    assert "KIND" in text
    found = shell.json("stats", "--kind", kind)
    assert found["total"]["activity"]["itemsCompleted"] == "1200"
    assert found["total"]["now"]["queued"] == "1"
    assert found["series"] == []


def test_stats_of_several_kinds_has_a_row_for_all(shell: Shell, kind: str):
    for one in ("a", "b"):
        shell("create", f"{kind}.{one}")
    lines = shell("stats", "--kind", f"{kind}.a", "--kind", f"{kind}.b").splitlines()
    assert [line.split()[:2] for line in lines[2:]] == [[f"{kind}.a", "1"], [f"{kind}.b", "1"], ["all", "2"]]


def test_stats_shows_what_fails_with_an_example_and_what_became_of_attempts(
    shell: Shell, sync_client: JobClient, kind: str
):
    shell("create", kind, "--items", "10")
    complete(sync_client, kind)
    for stage in ("", "[b]load", "[b]load"):
        last = shell("create", kind, "--max-attempts", "1").strip()
        [claimed] = sync_client.leases.claim_chunks([kind], worker="w")
        error = {"code": "BOOM", "stage": stage}
        sync_client.leases.fail_chunks([ChunkFailure(lease_token=claimed.lease.token, error=error)])
    lines = [line.split() for line in shell("stats", "--kind", kind).splitlines()]
    place = lines.index(["FAILED", "ERROR", "CODE", "STAGE", "EXAMPLE"])
    assert lines[place + 1] == ["2", "BOOM", "[b]load", last]
    assert lines[place + 2][:3] == ["1", "BOOM", "–"]  # noqa: RUF001 - none
    attempts = next(line for before, line in pairwise(lines) if before[:2] == ["ATTEMPTS", "COMPLETED"])
    assert attempts[:6] == ["4", "1", "3", "0", "0", "0"]
    found = shell.json("stats", "--kind", kind)["total"]
    assert found["failures"][0] == {"errorCode": "BOOM", "stage": "[b]load", "count": "2", "exampleJobId": last}
    assert found["activity"]["chunks"]["ended"] == "4"


def test_stats_shows_a_series_for_each_kind(shell: Shell, sync_client: JobClient, kind: str):
    for one in ("a", "b"):
        shell("create", f"{kind}.{one}")
    named = ("--kind", f"{kind}.a", "--kind", f"{kind}.b")
    lines = [line.strip() for line in shell("stats", *named, "--by", "day", "--by-kind").splitlines()]
    for one in ("a", "b"):
        assert lines[lines.index(f"{kind}.{one}") + 1].endswith("max 1, total 1")
    assert [line.split()[-1] for line in lines if line.startswith("created")] == ["2", "1", "1"]
    assert f"{kind}.a" not in shell("stats", *named, "--by", "day").splitlines()


@pytest.mark.parametrize(("by", "points"), [("hour", 49), ("day", 3)])
def test_stats_shows_the_course(shell: Shell, sync_client: JobClient, kind: str, by: str, points: int):
    shell("create", kind, "--items", "3")
    complete(sync_client, kind)
    text = shell("stats", "--kind", kind, "--since", "2d", "--by", by)
    [course] = [line for line in text.splitlines() if line.startswith("completed")]
    assert course.rstrip().endswith("max 1, total 1")
    assert "█" in course
    assert len(shell.json("stats", "--since", "2d", "--by", by)["series"]) in (points - 1, points)


def test_stats_takes_times_and_names_what_is_wrong(shell: Shell):
    span = shell.json("stats", "--since", "2026-01-01T00:00:00Z", "--until", "2026-01-02T00:30:00Z")["timeRange"]
    assert span == {"startTime": "2026-01-01T00:00:00Z", "endTime": "2026-01-02T01:00:00Z"}
    assert "time_range: end_time, by default now, must be after start_time" in shell(
        "stats", "--since", "1h", "--until", "2h", code=65
    )
    assert "must be one of hour, day; got 'week'" in shell("stats", "--by", "week", code=2)
    assert "must be a time" in shell("stats", "--since", "yesterday", code=2)
    assert "must make at most 2000 points" in shell("stats", "--since", "90d", "--by", "hour", code=65)


@pytest.mark.parametrize(
    ("values", "shown"), [([], ""), ([0, 0], "  "), ([1, 0, 1_000_000], "▁ █"), ([3, 6, 8, 2], "▃▆█▂")]
)
def test_a_bar_is_empty_only_for_nothing(values: list[int], shown: str):
    assert _stats_tables.bars(values) == shown


def test_a_long_course_has_a_bar_for_several_points(shell: Shell, kind: str):
    shell("create", kind)
    text = shell("stats", "--kind", kind, "--since", "30d", "--by", "hour")
    assert "8 points a bar" in text


@pytest.mark.parametrize("items", [1, 123_456_789])
def test_a_course_is_whole_on_a_narrow_terminal(items: int):
    activity = JobActivity(created=4, completed=3, failed=1, items_completed=items)
    points = [StatsPoint(activity=activity) for _ in range(60)]
    printed = StringIO()
    Console(file=printed, width=80).print(_stats_tables.series_bars(points, width=80))
    lines = printed.getvalue().splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["created", "completed", "failed", "items"]
    assert lines[3].rstrip().endswith(f"total {60 * items:,}")
    assert "…" not in "".join(lines[:4])


def test_top_cuts_neither_ids_nor_figures_on_a_narrow_terminal():
    board = Dashboard(0.0)
    progress = Progress(percent=50, stage="resize", items_per_second=1_234)
    state = JobState.CANCELLING
    job = Job(job_id="0" * 36, kind="k" * 40, display_name="a name " * 9, state=state, progress=progress)
    board.set_jobs([job])
    printed = StringIO()
    Console(file=printed, width=80).print(board.render(1.0, width=80, rows=20))
    lines = printed.getvalue().splitlines()
    [row] = [line for line in lines if line.startswith("0" * 36)]
    assert row.split()[1:4] == ["CANCELLING", "50.0", "%"]
    assert row.rstrip().endswith("…")
    assert "STATE" in "".join(lines)


def test_top_prints_one_picture(shell: Shell, sync_client: JobClient, kind: str):
    job_id = shell("create", kind, "--items", "4", "--chunk-size", "2", "--display-name", "[bold]cats").strip()
    shell("create", f"{kind}.waits", "--at", "1h")
    [claimed] = sync_client.leases.claim_chunks([kind], worker="w", lease_duration=timedelta(minutes=5))
    progress = {"stage": "resize", "percent": 50}
    sync_client.leases.heartbeat([LeaseReport(lease_token=claimed.lease.token, progress=progress)])
    text = shell("top", "--once", "--interval", "0.1", "--kind", kind, "--kind", f"{kind}.waits")
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert text.startswith("1 running · 1 queued · 0.0 chunks/s")
    assert rows[kind][:4] == ["0", "1", "0", "0"]
    assert rows[f"{kind}.waits"][:4] == ["1", "0", "0", "1"], "its chunk is held"
    assert rows[job_id][:2] == ["RUNNING", "25.0"]
    assert kind in rows[job_id]
    assert "resize" in rows[job_id]
    assert "[bold]cats" in text


def test_top_follows_what_happens_until_q(shell: Shell, sync_client: JobClient, kind: str):
    with Terminal(shell, "top", "--interval", "0.1", "--kind", kind) as terminal:
        terminal.until("0 running · 0 queued", "0 workers")
        job_id = shell("create", kind, "--items", "2", "--chunk-size", "1").strip()
        terminal.until("0 running · 1 queued")
        claimed = sync_client.leases.claim_chunks([kind], worker="ann", max_chunks=2)
        terminal.until("1 running · 0 queued", "1 worker", "ann", job_id, "RUNNING")
        sync_client.leases.complete_chunks([claimed[0].lease.token])
        terminal.until("50.0 %", "items/s")
        sync_client.leases.complete_chunks([claimed[1].lease.token])
        terminal.until("0 running · 0 queued")
        os.write(terminal.ours, b"q")
        assert terminal.end() == 0


def test_watch_draws_every_chunk_of_a_large_job_live(shell: Shell, sync_client: JobClient, kind: str):
    """More chunks than the first message has: the others are listed, and messages say what changes."""
    job_id = shell("create", kind, "--items", "1500", "--chunk-size", "1", "--max-attempts", "1").strip()
    with Terminal(shell, "watch", job_id) as terminal:
        terminal.until("1,500 waiting", "partly  2 chunks a cell")
        claimed = sync_client.leases.claim_chunks([kind], worker="ann", max_chunks=4)
        terminal.until("4 in work", "1,496 waiting", "1 worker", "ann chunk 3")
        tokens = [one.lease.token for one in claimed]
        sync_client.leases.complete_chunks(tokens[:2])
        failure = {"lease_token": tokens[2], "error": {"code": "DAMAGED", "stage": "encode"}}
        sync_client.leases.fail_chunks([ChunkFailure(**failure)])
        terminal.until("2 completed", "1 in work", "1 failed", "1  DAMAGED  in encode")
        sync_client.cancel_job(job_id)
        terminal.until("1,497 cancelled")
        assert terminal.end() == 4


def test_top_ends_well_when_it_is_interrupted(shell: Shell, kind: str):
    with Terminal(shell, "top", "--interval", "60", "--kind", kind) as terminal:
        terminal.until("0 running")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 0


def test_top_without_a_terminal_reports_what_to_do(shell: Shell):
    assert "--once" in shell("top", code=2)
    assert "stats --output json" in shell("top", "--output", "json", code=2)
