"""The command line against a real server."""

import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from importlib import metadata
from io import StringIO
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1.worker_service_pb2 import ChunkCompletion, ChunkFailure, ChunkRelease, LeaseReport
from jobledger_client import JobClient
from jobledger_client.cli import _format as formatting

from tests.client.shell import COMMAND, Shell
from tests.support.bounds import BOUND

pytestmark = pytest.mark.one_store("the command line sees messages, not the store")


def test_create_prints_the_id_alone(shell: Shell, kind: str):
    job_id = shell("create", kind, "--items", "1200", "--input", '{"site": "x"}', "--label", "team=search").strip()
    job = shell.json("get", job_id)
    assert (job["jobId"], job["kind"], job["input"], job["labels"]) == (job_id, kind, {"site": "x"}, {"team": "search"})
    assert len(job["chunks"]) == 3
    assert job["chunksSummary"]["processing"] == 0  # fields at their default are there, for programs


def test_create_with_validate_only_creates_nothing(shell: Shell, kind: str):
    checked = shell.json("create", kind, "--job-id", kind, "--items", "1200", "--validate-only")
    assert (checked["job"]["jobId"], checked["job"]["chunksSummary"]["total"]) == (kind, 3)
    assert shell.json("list", "--kind", kind)["totalSize"] == "0"
    assert "--validate-only" in shell("create", kind, "--validate-only", "--wait", code=2)


def test_every_option_of_create_arrives(shell: Shell, kind: str):
    shell(
        "create", kind, "--job-id", kind, "--display-name", "Film", "--priority", "9", "--chunks", '[{"part": 1}, {}]',
        "--stage", "decode=1", "--stage", "encode=4", "--max-attempts", "7", "--backoff", "2m", "--fail-fast",
        "--expire", "2100-01-01T00:00:00Z", "--run-timeout", "2h", "--attempt-timeout", "5m", "--request-id", kind,
    )  # fmt: skip
    job = shell.json("get", kind)
    assert (job["displayName"], job["priority"], job["failurePolicy"]) == ("Film", 9, "FAILURE_POLICY_FAIL_FAST")
    assert job["retryPolicy"]["maxAttempts"] == 7
    assert job["retryPolicy"]["initialBackoff"] == "120s"
    assert job["stages"] == [{"name": "decode", "weight": 1}, {"name": "encode", "weight": 4}]
    assert job["chunks"][0]["input"] == {"part": 1}
    assert job["expireTime"] == "2100-01-01T00:00:00Z"
    assert (job["runTimeout"], job["attemptTimeout"]) == ("7200s", "300s")
    assert re.findall(r"(?:run|attempt) timeout +(\S+)", shell("get", kind)) == ["2h00m", "5m00s"]


def test_input_comes_from_a_file_or_standard_input(
    shell: Shell, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "input.json"
    file.write_text('{"from": "file"}')
    job_id = shell("create", kind, "--input", f"@{file}").strip()
    assert shell.json("get", job_id)["input"] == {"from": "file"}
    monkeypatch.setattr(sys, "stdin", StringIO('{"from": "stdin"}'))
    job_id = shell("create", kind, "--input", "-").strip()
    assert shell.json("get", job_id)["input"] == {"from": "stdin"}


def test_list_shows_and_filters(shell: Shell, kind: str):
    ids = [shell("create", kind, "--display-name", f"[bold]cat {number}").strip() for number in range(3)]
    text, notes = shell.both("list", "--kind", kind)
    assert [line.split()[0] for line in text.splitlines()] == ["JOB", *ids[::-1]]
    assert "[bold]cat 0" in text
    assert notes == "3 of 3 jobs\n"
    assert shell.both("list", "--kind", kind, "--page-size", "1")[1].startswith("1 of 3 jobs\nmore follow: --all")
    page = shell.json("list", "--kind", kind, "--page-size", "2", "--state", "queued")
    assert (len(page["jobs"]), page["totalSize"]) == (2, "3")
    more = ["--page-size", "2", "--state", "queued", "--page-token", page["nextPageToken"]]
    rest = shell.json("list", "--kind", kind, *more)
    assert [job["jobId"] for job in page["jobs"] + rest["jobs"]] == ids[::-1]
    every = shell.json("list", "--kind", kind, "--page-size", "1", "--all")
    assert (len(every["jobs"]), every["nextPageToken"]) == (3, "")
    assert shell.json("list", "--kind", kind, "--search", "CAT 1")["totalSize"] == "1"
    many = ["--kind", kind, "--kind", f"{kind}.other", "--state", "queued", "--state", "running", "--search", "cat"]
    times = ["--created-since", "1h", "--updated-since", "1h", "--min-priority", "5", "--max-priority", "5"]
    assert shell.json("list", *many, *times, "--order", "priority_asc")["totalSize"] == "3"
    assert shell.json("list", *many, "--updated-before", "1h", "--label", "no=such")["totalSize"] == "0"
    assert shell.json("list", "--kind", kind, "--created-before", "1h")["totalSize"] == "0"
    keyed = shell("create", kind, "--unique-key", "once", "--label", "team=a").strip()
    for option in (["--unique-key", "once"], ["--label-in", "team=b,a"], ["--has-label", "team"]):
        assert [job["jobId"] for job in shell.json("list", "--kind", kind, *option)["jobs"]] == [keyed]
    for option in (["--error-code", "BOOM"], ["--started-since", "1h"], ["--scheduled-since", "1h"]):
        assert shell.json("list", "--kind", kind, *option)["totalSize"] == "0"
    [event] = shell.json("events", "--kind", kind, "--change", "created", "--since", "1h", "--page-size", "1")["events"]
    assert event["jobId"] == keyed
    assert keyed in shell("events", "--kind", kind)


def test_status_shows_where_many_jobs_stand(shell: Shell, sync_client: JobClient, kind: str):
    ids = [shell("create", kind, "--display-name", f"cat {number}").strip() for number in range(3)]
    text = shell("status", *ids)
    assert all(one in text for one in ids)
    assert "QUEUED" in text
    assert "RESULT" not in text
    first, second = sync_client.leases.claim_chunks([kind], worker="w", max_chunks=2)
    done = ChunkCompletion(lease_token=first.lease.token, result_uri="s3://b/cat")
    sync_client.leases.complete_chunks([done])
    failure = {"lease_token": second.lease.token, "error": {"code": "DAMAGED"}, "not_retryable": True}
    sync_client.leases.fail_chunks([ChunkFailure(**failure)])
    rows = [line.split() for line in shell("status", *ids).splitlines()]
    assert ("s3://b/cat" in rows[1], "DAMAGED" in rows[2]) == (True, True)
    assert [job["jobId"] for job in shell.json("status", *ids[::-1])["jobs"]] == ids[::-1]
    assert shell.both("status", ids[0], "no-such", code=66)[1] == "job no-such does not exist\n"


def test_limits_are_set_listed_and_deleted(shell: Shell, kind: str):
    assert shell("limits", "set", "--kind", kind, "1") == f"kind {kind}: at most 1 at once\n"
    assert shell("limits", "set", "--each", kind, "5") == f"each {kind}: at most 5 at once\n"
    bob = ("--label", f"{kind}=bob", "0", "--reason", "the disk is full")
    assert shell("limits", "set", *bob) == f"label {kind}=bob: at most 0 at once\n"
    shell("create", kind, "--label", f"{kind}=ann", "--limited-label", kind)
    waiting = shell("create", kind, "--label", f"{kind}=ann", "--limited-label", kind).strip()
    assert f"a slot of the limit kind {kind}, place 1" in shell("get", waiting)
    limits = shell.json("limits", "list")["limits"]
    own = {
        "scope": {"kind": kind},
        "maxRunning": 1,
        "running": "1",
        "waiting": "1",
        "inherited": False,
        "setBy": "caller",
        "reason": "",
    }
    of_ann = {"scope": {"label": {"name": kind, "value": "ann"}}, "maxRunning": 5, "running": "1", "inherited": True}
    for limit in own, of_ann | {"waiting": "0"}:
        assert any(limit.items() <= one.items() and one["updateTime"] for one in limits)
    listed = [line.split() for line in shell("limits", "list").splitlines()]
    assert ["label", f"{kind}=ann", "5", "5", "1", "0", "each", kind] in [words[:8] for words in listed]
    [of_bob] = [words for words in listed if f"{kind}=bob" in words]
    assert (of_bob[:6], of_bob[-5:]) == (
        ["label", f"{kind}=bob", "paused", "0", "0", "0"],
        ["caller", "the", "disk", "is", "full"],
    )
    for scope in (["--kind", kind], ["--each", kind], ["--label", f"{kind}=bob"]):
        shell("limits", "delete", *scope)
    assert kind not in shell("limits", "list")
    shell("limits", "set", "1", code=2)
    shell("limits", "delete", "--kind", kind, "--each", kind, code=2)


def test_get_leaves_out_chunks_or_input_too(shell: Shell, kind: str):
    job_id = shell("create", kind, "--input", '{"a": 1}').strip()
    shown = [shell.json("get", job_id, *option) for option in ((), ("--detail",), ("--basic",))]
    assert [("input" in one, len(one["chunks"])) for one in shown] == [(True, 1), (True, 0), (False, 0)]


def test_cancel_retry_update_and_delete(shell: Shell, kind: str):
    job_id = shell("create", kind, "--label", "a=1").strip()
    assert shell.json("update", job_id, "--priority", "8", "--no-labels", "--display-name", "New")["priority"] == 8
    limits = ["--max-attempts", "5", "--backoff", "2s", "--run-timeout", "1h", "--attempt-timeout", "5m"]
    changed = shell.json("update", job_id, *limits)
    policy = {"maxAttempts": 5, "initialBackoff": "2s", "multiplier": 2, "maxBackoff": "300s", "jitter": 0.2}
    assert (changed["retryPolicy"], changed["runTimeout"], changed["attemptTimeout"]) == (policy, "3600s", "300s")
    unlimited = shell.json("update", job_id, "--no-run-timeout", "--no-attempt-timeout")
    assert (unlimited["retryPolicy"], unlimited.keys() & {"runTimeout", "attemptTimeout"}) == (policy, set())
    assert shell.json("get", job_id, "--basic")["labels"] == {}
    assert shell.json("cancel", job_id)["outcome"] == "CANCEL_OUTCOME_CANCELLED"
    assert "had already ended (CANCELLED)" in shell("cancel", job_id)
    assert shell.json("retry", job_id, "--chunk", "0", "--reason", "again")["retryCount"] == 1
    assert "not ended" in shell("delete", job_id, code=65)
    assert shell.json("delete", job_id, "--force") == {}
    shell("get", job_id, code=66)
    assert "QUEUED → CANCELLED" in shell("events", job_id)
    history = shell.json("events", job_id)
    assert history["events"][0]["changes"][0]["type"] == "CHANGE_TYPE_DELETED"


def test_get_and_chunks_show_artifacts(shell: Shell, sync_client: JobClient, kind: str):
    job_id = shell("create", kind, "--items", "2", "--chunk-size", "1").strip()
    [claimed] = sync_client.leases.claim_chunks([kind], worker="w")
    thumbnails = {"uri": "s3://bucket/thumbs.zip", "content_type": "application/zip", "size_bytes": 1_024}
    sync_client.leases.heartbeat(
        [LeaseReport(lease_token=claimed.lease.token, progress={"artifacts": {"thumbs": thumbnails}})]
    )
    result = "thumbs: s3://bucket/thumbs.zip (application/zip, 1,024 bytes)"
    assert [line.count(result) for line in shell("chunks", job_id).splitlines()] == [0, 1, 0]
    assert shell("get", job_id).count(result) >= 1


def test_times_have_a_zone_and_an_eta_is_a_span_and_a_time(shell: Shell, kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        [created] = [line for line in shell("get", shell("create", kind).strip()).splitlines() if "created" in line]
        assert re.fullmatch(r"created +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d JST *", created)
        soon, far = Timestamp(), Timestamp(seconds=253_402_300_799)
        soon.FromDatetime(datetime.now(UTC) + timedelta(minutes=3, seconds=20))
        assert re.fullmatch(r"in 3 min \(\d\d:\d\d JST\)", formatting.eta(soon))
        assert formatting.eta(far).endswith("(9999-12-31 23:59 UTC)")
        assert formatting.eta(Timestamp(seconds=1)) == "any moment"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_job_that_nobody_has_claimed_reports_it(shell: Shell, sync_client: JobClient, kind: str):
    job_id = shell("create", kind).strip()
    assert "a worker: no worker has claimed it for" in shell("get", job_id)
    sync_client.leases.claim_chunks([kind], worker="w")
    assert "no worker" not in shell("get", job_id)


def test_jobs_of_the_service_are_shown_when_they_are_asked_for(shell: Shell, kind: str):
    job_id = shell("create", kind).strip()
    run = shell("cancel", job_id, job_id, f"{job_id}.other", "--detach").strip()
    for requested, shown in ([], False), (["--service-jobs"], True), (["--filter", "service-jobs=true"], True):
        page = shell.json("list", "--created-since", "1h", "--page-size", "500", *requested)
        assert (run in {job["jobId"] for job in page["jobs"]}) is shown
    kinds = [one["kind"] for one in shell.json("stats")["kinds"]]
    every = [one["kind"] for one in shell.json("stats", "--service-jobs")["kinds"]]
    assert ("jobledger.bulk" in kinds, "jobledger.bulk" in every) == (False, True)


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("jobledger list --state C", "CANCELLING\nCOMPLETED\nCANCELLED\n"),
        ("jobledger list --order PRIORITY_A", "PRIORITY_ASC\n"),
        ("jobledger get {job_id}", "{job_id}.done\n"),
        ("jobledger retry other {job_id}", "{job_id}.done\n"),
        ("jobledger list --kind {kind}", "{kind}\n"),
        ("jobledger --target 127.0.0.1:1 get {job_id}", ""),
    ],
)
def test_the_shell_completes_choices_ids_and_kinds(shell: Shell, kind: str, line: str, completed: str):
    known = {"job_id": kind[:30], "kind": kind}
    shell("create", kind, "--job-id", f"{kind[:30]}.done")
    typed = line.format(**known)
    bash = {"_JOBLEDGER_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    done = subprocess.run(
        [COMMAND], capture_output=True, text=True, env=shell.environment | bash, timeout=BOUND, check=False
    )
    assert (done.stdout.strip(), done.stderr) == (completed.format(**known).strip(), "")


def test_the_version_is_that_of_the_distribution(shell: Shell):
    assert shell("--version") == f"jobledger {metadata.version('jobledger-client')}\n"


def test_chunks_by_state(shell: Shell, sync_client: JobClient, kind: str):
    job_id = shell("create", kind, "--items", "3", "--chunk-size", "1").strip()
    sync_client.leases.claim_chunks([kind], worker="w", max_chunks=1)
    assert [chunk["index"] for chunk in shell.json("chunks", job_id, "--state", "pending")["chunks"]] == [1, 2]
    assert "PROCESSING" in (result := shell("chunks", job_id))
    assert "TASK" not in result
    sync_client.leases.claim_chunk(job_id, 1, worker="celery", task_id="9f2c")
    [row] = [line for line in shell("chunks", job_id).splitlines() if "9f2c" in line.split()]
    assert row.split()[0] == "1"


def test_attempts_and_the_jobs_of_a_task(shell: Shell, sync_client: JobClient, kind: str):
    job_id = shell("create", kind, "--items", "2", "--chunk-size", "1").strip()
    assert "OUTCOME" not in shell("get", job_id)
    task = f"task-{kind}"
    claimed = sync_client.leases.claim_chunk(job_id, 1, worker="celery", task_id=task)
    sync_client.leases.release_chunks([ChunkRelease(lease_token=claimed.lease.token)])
    sync_client.leases.claim_chunk(job_id, 1, worker="other")
    found = shell.json("attempts", job_id)["attempts"]
    assert [(one["chunkIndex"], one["number"], one["worker"]) for one in found] == [(1, 1, "celery"), (1, 2, "other")]
    assert found[0]["outcome"] == "ATTEMPT_OUTCOME_RELEASED"
    assert shell.json("attempts", job_id, "--chunk", "0")["attempts"] == []
    assert len(shell.json("attempts", job_id, "--task", task)["attempts"]) == 1
    rows = [line.split() for line in shell("attempts", job_id).splitlines()]
    assert rows[1][:5] == ["1", "1", "RELEASED", "celery", task]
    assert [row[:3] for row in rows] == [["CHUNK", "ATTEMPT", "OUTCOME"], ["1", "1", "RELEASED"], ["1", "2", "other"]]
    shown = [line.split() for line in shell("get", job_id).splitlines()[-2:]]
    assert [row[:3] for row in shown] == [["1", "2", "other"], ["1", "1", "RELEASED"]]
    assert [job["jobId"] for job in shell.json("list", "--task", task)["jobs"]] == [job_id]
    assert [job["jobId"] for job in shell.json("list", "--filter", f"task={task}")["jobs"]] == [job_id]


def test_a_failed_chunk_goes_again_while_its_job_runs(shell: Shell, sync_client: JobClient, kind: str):
    job_id = shell("create", kind, "--items", "2", "--chunk-size", "1").strip()
    claimed = sync_client.leases.claim_chunks([kind], worker="w", max_chunks=2)
    sync_client.leases.fail_chunks([
        ChunkFailure(lease_token=claimed[0].lease.token, error={"code": "X"}, not_retryable=True)
    ])  # fmt: skip
    assert shell("retry", job_id, "--chunk", "0") == f"{job_id}: runs again (RUNNING)\n"
    assert [chunk["index"] for chunk in shell.json("chunks", job_id, "--state", "pending")["chunks"]] == [0]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["lst"], 2, "No such command 'lst'"),
        (["get"], 2, "Missing argument 'JOB_ID'"),
        (
            ["list", "--state", "paused"],
            2,
            "must be one of QUEUED, RUNNING, CANCELLING, COMPLETED, FAILED, CANCELLED; got 'paused'",
        ),
        (["create", "a.b", "--input", "[1]"], 2, "--input: must be a JSON object"),
        (["create", "a.b", "--input", "{"], 2, "--input: must be JSON"),
        (["create", "a.b", "--input", "@/no/such/file"], 2, "No such file"),
        (["create", "a.b", "--label", "x"], 2, "--label: must be NAME=VALUE; got 'x'"),
        (["create", "a.b", "--backoff", "soon"], 2, "must be a duration such as 30s, 5m, 2h or 7d; got 'soon'"),
        (["create", "a.b", "--stage", "x=heavy"], 2, "must be NAME or NAME=WEIGHT; got 'x=heavy'"),
        (["list", "--created-since", "yesterday"], 2, "or a duration such as 2h; got 'yesterday'"),
        (["watch", "x", "--cursor", "?"], 2, "--cursor: must be base64; got '?'"),
        (["update", "x"], 2, "a change is required"),
        (["create", "a.b", "--backoff", "9999999999d"], 2, "must be at most 999,999,999 days; got '9999999999d'"),
        (["list", "--created-since", "900000d"], 2, "must be in the years 1 to 9999; got '900000d'"),
        (["list", "--created-since", "0001-01-01T00:00+14:00"], 2, "must be in the years"),
        (["list", "--timeout", "soon"], 2, "must be a duration such as 30s, 5m, 2h or 7d; got 'soon'"),
        (["list", "--timeout", "0s"], 2, "must be above 0; got '0s'"),
        (["create", "a.b", "--priority", "11"], 65, "priority: value 11 must be from 0 to 10"),
        (["list", "--page-size", "0"], 2, "--page-size"),
        (["top", "--interval", "2h", "--once"], 2, "--interval"),
        (["get", "no-such-job"], 66, "no-such-job"),
        (["watch", "no-such-job"], 66, "no-such-job"),
        (["--target", "127.0.0.1:1", "--timeout", "8", "list"], 69, "the server is unreachable"),
        (["list", "--target", "127.0.0.1:1", "--timeout", "8s"], 69, "the server is unreachable"),
        (["top", "--once", "--target", "127.0.0.1:1", "--timeout", "5"], 69, "is unreachable"),
        (["watch", "x", "--target", "127.0.0.1:1", "--timeout", "1s"], 69, "the server is unreachable"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_a_code(shell: Shell, words: list[str], code: int, sentence: str):
    result = shell(*words, code=code)
    assert result.startswith("jobledger: ")
    assert sentence in result
    assert len(result.splitlines()) == 1


def test_a_process_exits_as_the_command_reports(shell: Shell):
    command = [COMMAND, "get", "no-such-job"]
    result = subprocess.run(command, capture_output=True, text=True, env=shell.environment, timeout=BOUND, check=False)
    assert (result.returncode, result.stdout) == (66, "")
    assert result.stderr.startswith("jobledger: ")


def test_help_teaches(shell: Shell):
    text = shell("--help")
    assert "jobledger create crawl.images" in text
    assert "the job is FAILED" in text
    for command in ("create", "get", "list", "watch", "chunks", "events", "cancel", "retry", "update", "delete"):
        assert f"  jobledger {command} " in shell(command, "--help")
    assert "Usage" in shell(code=2)


def test_without_its_extra_it_reports_which(tmp_path: Path):
    block = "import sys; sys.modules['typer'] = None; from jobledger_client.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=BOUND, check=False)
    assert done.returncode == 78
    assert done.stderr == "jobledger: the command line needs typer and rich: pip install 'jobledger-client[cli]'\n"
