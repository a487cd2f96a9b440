"""Imports through the SDK and the command line."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToJson
from jobledger.v1.import_service_pb2 import ImportedJob, ImportJobsResponse
from jobledger_client import AsyncJobClient, JobClient
from jobledger_client.cli._main import run

from tests.imports.test_import import past
from tests.support.server import Server

pytestmark = pytest.mark.one_store("the SDK and the command line see messages, not the store")


def counted(sums: list[int]) -> Callable[[ImportJobsResponse], None]:
    return lambda result: sums.append(result.imported + result.refused)


async def test_the_sdk_sends_many_jobs_in_calls_one_after_another(server: Server, kind: str):
    jobs = [past(f"{kind}-{n}", kind) for n in range(4_010)]
    jobs[4_005].retry_count = -1
    sums: list[int] = []
    async with AsyncJobClient(server.target) as client:
        result = await client.imports.import_jobs(iter(jobs), on_progress=counted(sums))
    assert sums == [4_000, 4_010]
    assert (result.imported, [refusal.number for refusal in result.refusals]) == (4_009, [4_005])


def test_the_sdk_sends_no_more_bytes_in_a_message_than_are_taken(server: Server, kind: str):
    heavy = {"input": {"text": "x" * 60_000}}
    with JobClient(server.target) as client:
        result = client.imports.import_jobs(past(f"{kind}-{n}", kind, job=heavy) for n in range(150))
    assert result == ImportJobsResponse(imported=150)


def test_what_was_sent_before_the_jobs_end_with_an_error_is_imported(server: Server, kind: str):
    def jobs() -> Iterator[ImportedJob]:
        for number in range(4_001):
            yield past(f"{kind}-{number}", kind)
        raise LookupError("the old system went away")

    sums: list[int] = []
    with JobClient(server.target) as client, pytest.raises(LookupError):
        client.imports.import_jobs(jobs(), on_progress=counted(sums))
    assert sums == [4_000]


def test_the_command_imports_a_file_and_reports_what_it_refused(
    server: Server, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("JOBLEDGER_TARGET", server.target)
    times = {
        "createTime": "2024-03-01T12:00:00Z",
        "startTime": "2024-03-01T12:00:00Z",
        "endTime": "2024-03-01T13:00:00Z",
    }
    jobs = [{"job": {"jobId": f"{kind}-{n}", "kind": kind}, "state": "JOB_STATE_COMPLETED"} | times for n in range(600)]
    file = tmp_path / "jobs.jsonl"
    file.write_text("\n".join(map(json.dumps, jobs)))
    assert run(["import", str(file)]) == 0
    assert capsys.readouterr().out == "600 imported, 0 unchanged, 0 refused\n"
    jobs[7]["state"] = "JOB_STATE_RUNNING"
    file.write_text("\n\n".join(map(json.dumps, jobs)))
    assert run(["import", str(file)]) == 65
    result = capsys.readouterr()
    assert result.out == "0 imported, 599 unchanged, 1 refused\n"
    assert result.err.splitlines()[-1].startswith(f"line 15 ({kind}-7): state: ")


@pytest.mark.parametrize("malformed", [b"not json", b'{"jobs": {}}', b'"\xff"'])
def test_the_command_reports_at_which_line_it_ended_and_how_many_jobs_it_had_taken(
    server: Server, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], malformed: bytes
):
    jobs = [MessageToJson(past(f"{kind}-{n}", kind), indent=None).encode() for n in range(20)]
    file = tmp_path / "jobs.jsonl"
    command = ["--target", server.target, "import", str(file)]
    file.write_bytes(b"\n".join([*jobs[:16], malformed, *jobs[16:]]))
    assert run(command) == 2
    result = capsys.readouterr()
    assert result.out == "16 imported, 0 unchanged, 0 refused\n"
    assert "line 17 must be an ImportedJob in JSON: " in result.err
    assert "; 16 jobs before it were imported: correct the line and send the file again" in result.err
    file.write_bytes(b"\n".join(jobs))
    assert run(command) == 0
    assert capsys.readouterr().out == "4 imported, 16 unchanged, 0 refused\n"
