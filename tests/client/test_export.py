"""Exports through the SDK and the command line: over restarts, resumed by hand, and what they leave on disk."""

import csv
import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from jobledger.v1.export_pb2 import ExportJobsRequest, ExportJobsResponse
from jobledger_client import (
    AsyncJobClient,
    ExportFormat,
    HistoryTrimmedError,
    InvalidFieldError,
    JobClient,
    JobState,
    UnavailableError,
)
from jobledger_client.cli._jobs._partial_file import PartialFile

from tests.client.controlled import Played
from tests.client.shell import Shell
from tests.support.bounds import BOUND, CALL_TIMEOUT
from tests.support.server import Server

pytestmark = pytest.mark.one_store("the SDK and the command line see messages, not the store")

COMMAND = Path(sys.executable).with_name("jobledger")
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def jobs(server: Server, kind: str) -> list[str]:
    """Return the ids of jobs of a kind, which make some pieces."""
    with JobClient(server.target, timeout=CALL_TIMEOUT) as client:
        labels = {f"l{number}": "v" * 255 for number in range(20)}
        return [client.create_job(kind, labels=labels, display_name=f"={n}").job.job_id for n in range(60)]


def piece(data: bytes, token: str, rows: int) -> ExportJobsResponse:
    return ExportJobsResponse(data=data, resume_token=token, row_count=rows, cursor=b"c", percent=rows)


def test_an_export_continues_where_it_broke(service: Played):
    def work(client: JobClient) -> tuple[bytes, list[int], bytes]:
        export = client.exports.export_jobs(ExportFormat.JSON_LINES, columns=["job_id"], states=[JobState.FAILED])
        got = [(data, export.row_count) for data in export]
        return b"".join(data for data, _ in got), [rows for _, rows in got], export.cursor

    got = service.start(work)
    request, stream = service.send("ExportJobs", piece(b"a\n", "t1", 1), piece(b"", "t2", 1))
    assert (request.format, request.columns, request.resume_token) == (
        ExportFormat.JSON_LINES,
        ["job_id"],
        "",
    )
    stream.terminate((), UNAVAILABLE, "")
    request, stream = service.send("ExportJobs", piece(b"b\n", "t3", 2))
    assert (request.resume_token, list(request.columns)) == ("t2", ["job_id"])
    stream.terminate((), grpc.StatusCode.OK, "")  # a good end that is not the export's
    request, stream = service.send("ExportJobs", piece(b"c\n", "", 3))
    assert request.resume_token == "t3"
    assert got.result() == (b"a\nb\nc\n", [1, 1, 2, 3], b"c")


def test_an_export_that_cannot_continue_reports_why(service: Played):
    got = service.start(lambda client: list(client.exports.export_jobs(ExportFormat.CSV)))
    _, stream = service.send("ExportJobs", piece(b"a\n", "t1", 1))
    service.end(stream, "ExportJobs", grpc.StatusCode.OUT_OF_RANGE, "HISTORY_TRIMMED")
    with pytest.raises(HistoryTrimmedError):
        got.result()


def test_an_export_without_a_server_gives_up_after_its_patience(service: Played):
    got = service.start(
        lambda client: list(client.exports.export_jobs(ExportFormat.CSV, reconnect_timeout=timedelta(seconds=3)))
    )
    _, stream = service.send("ExportJobs", piece(b"a\n", "t1", 1))
    stream.terminate((), UNAVAILABLE, "")
    while not got.done():
        _, _, stream = service.take("ExportJobs")
        stream.terminate((), UNAVAILABLE, "")
        if sum(service.time.slept) > 2:
            break
    with pytest.raises(UnavailableError):
        got.result()


async def test_both_clients_export_the_same_and_resume_by_token(server: Server, kind: str, jobs: list[str]):
    with JobClient(server.target, timeout=CALL_TIMEOUT) as client:
        export = client.exports.export_jobs(
            ExportFormat.CSV, kinds=[kind], columns=["job_id", "display_name"], label_columns=["l0"]
        )
        whole = b"".join(export)
        assert (export.row_count, export.percent, export.resume_token) == (60, 100, "")
        rows = list(csv.DictReader(whole.decode().splitlines()))
        assert [row["job_id"] for row in rows] == jobs
        assert rows[7]["display_name"] == "'=7"
        with client.exports.export_jobs(ExportFormat.JSON_LINES, kinds=[kind]) as first:
            begun = next(first)
            token = first.resume_token
        assert token
    async with AsyncJobClient(server.target, timeout=CALL_TIMEOUT) as client:
        rest = [
            data async for data in client.exports.export_jobs(ExportFormat.JSON_LINES, kinds=[kind], resume_token=token)
        ]
        again = [data async for data in client.exports.export_jobs(ExportFormat.JSON_LINES, kinds=[kind])]
    assert begun + b"".join(rest) == b"".join(again)


def test_the_command_writes_a_file(shell: Shell, kind: str, jobs: list[str], tmp_path: Path):
    file = tmp_path / "jobs.csv"
    output = shell("export", "--out", str(file), "--kind", kind, "--column", "job_id", "--label-column", "l0")
    assert output == f"60 jobs in {file}\n"
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [row["job_id"] for row in rows] == jobs
    assert list(tmp_path.iterdir()) == [file]
    reported = shell.json("export", "--out", str(file), "--kind", kind, "--format", "jsonl", "--state", "FAILED")
    assert (reported["rows"], file.read_bytes()) == (0, b"")


def test_the_command_writes_to_standard_output(shell: Shell, kind: str, jobs: list[str]):
    words = [COMMAND, "export", "--out", "-", "--format", "jsonl", "--kind", kind]
    done = subprocess.run(words, capture_output=True, text=True, env=shell.environment, check=True)
    assert [json.loads(line)["job_id"] for line in done.stdout.splitlines()] == jobs
    assert done.stderr == ""
    piped = f"{COMMAND} export --out - --format jsonl --kind {kind} | head -c 10"
    done = subprocess.run(["bash", "-c", piped], capture_output=True, text=True, env=shell.environment, check=True)
    assert (len(done.stdout), done.stderr) == (10, "")


def test_the_command_continues_after_an_interruption(
    shell: Shell,
    kind: str,
    jobs: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    file = tmp_path / "jobs.jsonl"
    words = ("export", "--out", str(file), "--kind", kind)
    taken = Interrupted()
    monkeypatch.setattr("rich.progress.Progress.update", taken)  # Ctrl-C comes while a library runs
    output = shell(*words, code=130)
    assert f"jobledger export --out {file} --resume` continues" in output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jobs.jsonl.part", "jobs.jsonl.part.json"]
    with (tmp_path / "jobs.jsonl.part").open("ab") as part:
        part.write(b"what was written after the last note")
    monkeypatch.undo()
    monkeypatch.setenv("JOBLEDGER_TARGET", shell.environment["JOBLEDGER_TARGET"])
    assert shell("export", "--out", str(file), "--resume") == f"60 jobs in {file}\n"
    assert [json.loads(line)["job_id"] for line in file.read_text().splitlines()] == jobs
    assert list(tmp_path.iterdir()) == [file]


class Interrupted:
    """Stands for Ctrl-C after the first piece."""

    def __call__(self, *_: object, **__: object) -> None:
        raise KeyboardInterrupt


def test_an_export_that_is_interrupted_at_its_very_end_continues_without_repeating_a_job(
    shell: Shell, kind: str, jobs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "jobs.csv"
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", Interrupted())  # Ctrl-C comes while the whole file is brought to disk
        output = shell("export", "--out", str(file), "--kind", kind, code=130)
    assert "--resume` continues" in output
    assert shell("export", "--out", str(file), "--resume") == f"60 jobs in {file}\n"
    assert [row["job_id"] for row in csv.DictReader(file.read_text().splitlines())] == jobs
    assert list(tmp_path.iterdir()) == [file]


def test_an_export_that_found_nothing_yet_continues(tmp_path: Path):
    file = tmp_path / "jobs.jsonl"
    with PartialFile(file, ExportJobsRequest()) as part:
        part.write(b"", "t1")  # so many jobs, and none that matches
    with PartialFile.resume(file) as part:
        assert part.request.resume_token == "t1"


def test_ctrl_c_ends_the_command_with_its_code(shell: Shell, tmp_path: Path):
    words = ("export", "--out", str(tmp_path / "x.csv"), "--target", "127.0.0.1:1", "--timeout", "60")
    with shell.start(*words) as process:
        while not (tmp_path / "x.csv.part").exists():
            os.sched_yield()
        process.send_signal(signal.SIGINT)
        assert process.wait(BOUND) == 130
    assert list(tmp_path.iterdir()) == []


def test_what_the_command_refuses(shell: Shell, kind: str, tmp_path: Path):
    file = str(tmp_path / "jobs.csv")
    assert "must be the name of a column; the nearest is 'state'" in shell(
        "export", "--out", file, "--column", "stat", code=65
    )
    assert "--format must be csv or jsonl" in shell("export", "--out", str(tmp_path / "jobs.txt"), code=2)
    assert "has no interrupted export" in shell("export", "--out", file, "--resume", code=2)
    assert "leave out the filter" in shell("export", "--out", file, "--resume", "--kind", kind, code=2)
    assert "--resume requires --out with a file" in shell("export", "--out", "-", "--resume", code=2)
    assert "No such file" in shell("export", "--out", str(tmp_path / "no" / "jobs.csv"), code=2)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_column_is_an_error_of_the_sdk(server: Server):
    with JobClient(server.target, timeout=CALL_TIMEOUT) as client, pytest.raises(InvalidFieldError):
        next(client.exports.export_jobs(ExportFormat.CSV, columns=["stat"]))
