"""The command line over many jobs: asked before, followed, and reported."""

import re
import sys
from threading import current_thread, main_thread
from typing import Any

import pytest
from grpc._channel import _MultiThreadedRendezvous as STREAM
from jobledger.v1.worker_service_pb2 import ChunkFailure
from jobledger_client import JobClient

from tests.client.shell import Shell
from tests.support.bounds import CALL_TIMEOUT
from tests.support.server import Server

pytestmark = pytest.mark.one_store("the command line sees messages, not the store")

read_message = STREAM._next


@pytest.fixture
def job_ids(server: Server, kind: str) -> list[str]:
    """Return jobs of one kind, the last of which is CANCELLED."""
    with JobClient(server.target, timeout=CALL_TIMEOUT) as client:
        created = [client.create_job(kind, display_name=f"page {n}").job.job_id for n in range(4)]
        client.cancel_job(created[-1])
    return created


def state(shell: Shell, job_id: str) -> str:
    return shell.json("get", job_id)["state"]


def test_a_validate_only_shows_what_is_meant(shell: Shell, kind: str, job_ids: list[str]):
    result = shell("cancel", "--kind", kind, "--state", "QUEUED", "--validate-only")
    assert "3 jobs" in result
    assert [job_id in result for job_id in job_ids] == [True, True, True, False]
    for verb in (("cancel",), ("update", "--priority", "1")):  # --since is short for --created-since
        assert "4 jobs" in shell(*verb, "--kind", kind, "--since", "1d", "--validate-only")
    assert "1 job" in shell("delete", "--kind", kind, "--since", "1d", "--validate-only")  # and here for --ended-since
    document = shell.json("cancel", *job_ids, "--validate-only")
    assert (document["matchedCount"], len(document["sample"]), document.get("job")) == ("4", 4, None)
    assert state(shell, job_ids[0]) == "JOB_STATE_QUEUED"


def test_a_filter_is_not_carried_out_unasked(shell: Shell, kind: str, job_ids: list[str]):
    assert "--yes is required" in shell("cancel", "--kind", kind, code=2)
    assert state(shell, job_ids[0]) == "JOB_STATE_QUEUED"


@pytest.mark.parametrize(("answer", "code", "becomes"), [("y\n", 0, "CANCELLED"), ("n\n", 130, "QUEUED")])
def test_on_a_terminal_it_asks(
    shell: Shell, kind: str, job_ids: list[str], monkeypatch: pytest.MonkeyPatch, answer: str, code: int, becomes: str
):
    class Terminal:
        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return answer

    monkeypatch.setattr(sys, "stdin", Terminal())
    shell("cancel", "--kind", kind, "--state", "QUEUED", code=code)
    assert state(shell, job_ids[0]) == f"JOB_STATE_{becomes}"


def test_a_run_is_followed_and_its_refusals_are_reported(shell: Shell, kind: str, job_ids: list[str]):
    result = shell(
        "retry", "--kind", kind, "--state", "QUEUED", "--state", "CANCELLED", "--yes", "--reason", "again", code=3
    )
    assert "1 applied, 0 unchanged, 3 refused" in result
    assert result.count("JOB_NOT_ENDED") == 3
    assert state(shell, job_ids[-1]) == "JOB_STATE_QUEUED"
    assert "2 applied, 0 unchanged, 0 refused" in shell("cancel", *job_ids[:2])
    run = shell.json("update", "--priority", "9", *job_ids[2:])
    assert (run["kind"], run["state"]) == ("jobledger.bulk", "JOB_STATE_COMPLETED")
    assert run["artifacts"]["report"]["metadata"]["applied"] == 2
    assert shell.json("get", job_ids[2])["priority"] == 9


def test_dead_letters_are_counted_and_retried_in_one_line(server: Server, shell: Shell, kind: str, job_ids: list[str]):
    words = ("retry", "--error-code", "OUT_OF_MEMORY", "--kind", kind, "--since", "1d")
    with JobClient(server.target, timeout=CALL_TIMEOUT) as client:
        for code in ("OUT_OF_MEMORY", "BAD_INPUT"):
            [one] = client.leases.claim_chunks([kind], worker="w")
            failure = {"lease_token": one.lease.token, "error": {"code": code}, "not_retryable": True}
            client.leases.fail_chunks([ChunkFailure(**failure)])
    preview = shell(*words, "--validate-only")
    assert "1 job" in preview
    assert [job_id in preview for job_id in job_ids] == [True, False, False, False]
    assert "--yes is required" in shell(*words, code=2)
    assert state(shell, job_ids[0]) == "JOB_STATE_FAILED"
    assert "1 applied, 0 unchanged, 0 refused" in shell(*words, "--yes")
    assert [state(shell, one) for one in job_ids[:2]] == ["JOB_STATE_QUEUED", "JOB_STATE_FAILED"]
    assert shell(*words, "--yes") == "no job matches; there is no run\n"
    assert "1 applied" in shell("retry", "--kind", kind, "--yes")  # the FAILED one, and not the CANCELLED one
    assert state(shell, job_ids[3]) == "JOB_STATE_CANCELLED"


def test_many_jobs_get_any_change_of_one(shell: Shell, kind: str, job_ids: list[str]):
    shell("update", job_ids[0], "--set-label", "Team.a=x", "--set-label", "old=1", "--reason", "sorted")
    words = ("--set-label", "Team.a=y", "--remove-label", "old", "--display-name", "New", "--expire", "7d")
    assert "4 applied" in shell("update", "--kind", kind, *words, "--yes")
    for job_id in job_ids:
        job = shell.json("get", job_id)
        assert (job["labels"], job["displayName"]) == ({"Team.a": "y"}, "New")
        assert "expireTime" in job
    assert "sorted" in shell("events", job_ids[0])


def test_a_run_that_is_followed_no_more_continues_and_is_named(
    shell: Shell, kind: str, job_ids: list[str], monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patched:
        patched.setattr(STREAM, "_next", interrupted)  # while it waits for a message
        result = shell("cancel", "--kind", kind, "--state", "QUEUED", "--yes", code=130)
    [run] = set(re.findall(r"jobledger (?:watch|cancel) (\S+)`", result))
    shell("watch", run)
    assert state(shell, job_ids[0]) == "JOB_STATE_CANCELLED"


def interrupted(stream: Any) -> Any:
    """Stand for Ctrl-C, which the main thread gets; streams of other threads go on."""
    if current_thread() is main_thread():
        raise KeyboardInterrupt
    return read_message(stream)


def test_a_run_need_not_be_followed(shell: Shell, kind: str, job_ids: list[str]):
    run = shell("delete", "--kind", kind, "--force", "--yes", "--detach").strip()
    assert "4 applied" in shell("watch", run)
    shell("get", job_ids[0], code=66)
    assert shell("delete", "--kind", kind, "--yes", "--validate-only").strip() == "0 jobs"


def test_a_run_that_would_change_no_job_is_not_begun(shell: Shell, kind: str):
    assert shell("delete", "--kind", kind, "--yes") == "no job matches; there is no run\n"
    assert shell("cancel", kind, f"{kind}.2", code=66) == "none of these jobs exists; there is no run\n"
    document = shell.json("delete", "--kind", kind, "--yes")
    assert (document["matchedCount"], document.get("job")) == ("0", None)


@pytest.mark.parametrize(
    ("words", "result"),
    [
        (["cancel"], "JOB_ID or a filter is required"),
        (["cancel", "a", "--kind", "k"], "exclude each other"),
        (["retry", "a", "b", "--chunk", "1"], "--chunk requires a single"),
        (["delete", "a", "b", "--etag", "1"], "--etag requires a single"),
        (["cancel", "a", "b", "--uid", "1"], "--uid requires a single"),
        (["retry", "a", "b", "--uid", "1"], "--uid requires a single"),
        (["watch", "a", "b", "--uid", "1"], "--uid requires a single"),
        (["update", "a", "b", "--etag", "1", "--priority", "1"], "--etag requires a single"),
        (["update", "--kind", "k"], "a change is required"),
        (["update", "--kind", "k", "--yes", "--label", "a=b", "--set-label", "c=d"], "exclude each other"),
        (["update", "a", "--set-label", "a=b", "--remove-label", "a"], "once"),
        (["retry", "--since", "yesterday"], "or a duration such as 2h; got 'yesterday'"),
        (["delete", "--kind", "k", "--search", "", "--yes"], "--search: must not be empty"),
        (["delete", "--kind", "k", "--ended-before", "", "--yes"], "or a duration such as 2h; got ''"),
        (["delete", "--label", "a=1", "--label", "a=2", "--yes"], "'a' must have one value"),
        (["cancel", "--filter", "FAILED"], "must be NAME=VALUE; got 'FAILED'"),
        (["cancel", "--filter", "stat=FAILED"], "got 'stat'"),
        (["cancel", "--filter", "min-priority=high"], "must be an integer; got 'high'"),
        (["cancel", "--filter", "search=a", "--search", "b"], "search must be given once"),
        (["cancel", "--filter", "filter=a"], "got 'filter'"),
    ],
)
def test_a_command_line_that_does_not_report_what_is_meant_is_refused(shell: Shell, words: list[str], result: str):
    assert result in shell(*words, code=2)


def test_a_filter_in_one_option_is_that_of_many(shell: Shell, kind: str, job_ids: list[str]):
    shell("update", job_ids[0], "--label", "team=a", "--priority", "8")
    words = [f"kind={kind}", "state=QUEUED", "label.team=a", "min-priority=7", "created-since=2h", "owner=default"]
    named = [word for pair in zip(["--filter"] * 6, words, strict=True) for word in pair]
    assert [job["jobId"] for job in shell.json("list", *named)["jobs"]] == [job_ids[0]]
    result = shell("cancel", *named[:-2], "--validate-only")
    assert job_ids[0] in result
    assert "1 job" in result


def test_labels_to_set_and_labels_to_search_for_are_distinguished(shell: Shell, kind: str, job_ids: list[str]):
    shell("update", job_ids[0], "--label", "team=a")
    assert "1 applied" in shell("update", "--kind", kind, "--with-label", "team=a", "--priority", "8", "--yes")
    assert [shell.json("get", job_id)["priority"] for job_id in job_ids[:2]] == [8, 5]
