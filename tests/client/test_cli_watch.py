"""`jobledger watch` and `--wait`: what they print, and how they exit."""

import json
import signal
from datetime import timedelta

import pytest
from jobledger.v1.worker_service_pb2 import ChunkFailure
from jobledger_client import JobClient

from tests.client.shell import Shell, complete
from tests.support.bounds import BOUND

pytestmark = pytest.mark.one_store("the command line sees messages, not the store")


def test_watch_exits_by_the_state(shell: Shell, sync_client: JobClient, kind: str):
    job_id = shell("create", kind, "--items", "2", "--chunk-size", "1").strip()
    watching = shell.start("watch", job_id)
    complete(sync_client, kind)
    output, _ = watching.communicate(timeout=BOUND)
    assert watching.returncode == 0
    assert "COMPLETED  100.0 %" in output.splitlines()[-1]


def test_watch_of_a_failed_job_exits_with_1_and_reports_why(shell: Shell, sync_client: JobClient, kind: str):
    job_id = shell("create", kind).strip()
    [claimed] = sync_client.leases.claim_chunks([kind], worker="w")
    failure = {"lease_token": claimed.lease.token, "error": {"code": "DAMAGED", "message": "no"}, "not_retryable": True}
    sync_client.leases.fail_chunks([ChunkFailure(**failure)])
    assert "error: DAMAGED: no (chunk 0)" in shell("watch", job_id, code=1)


def test_watch_in_json_is_one_message_a_line(shell: Shell, kind: str):
    job_id = shell("create", kind).strip()
    before = shell.json("list", "--kind", kind)["cursor"]
    shell("update", job_id, "--priority", "9")
    shell("cancel", job_id, "--reason", "enough")
    lines = shell("watch", job_id, "--every", "--cursor", before, "-o", "json", code=4).splitlines()
    jobs = [json.loads(line)["job"] for line in lines]
    assert [job["state"] for job in jobs] == ["JOB_STATE_QUEUED", "JOB_STATE_CANCELLED"]
    assert jobs[-1]["cancelReason"] == "enough"


def test_watch_from_after_the_end_exits_by_the_state(shell: Shell, kind: str):
    job_id = shell("create", kind).strip()
    shell("cancel", job_id)
    after = shell.json("list", "--kind", kind)["cursor"]
    assert shell("watch", job_id, "--cursor", after, "-o", "json", code=4) == ""
    shell("watch", job_id, "--cursor", after, code=4)


def test_watch_of_a_job_that_is_deleted_exits_with_66(shell: Shell, kind: str):
    job_id = shell("create", kind).strip()
    watching = shell.start("watch", job_id)
    assert watching.stdout is not None
    assert "QUEUED" in watching.stdout.readline()
    shell("delete", job_id, "--force")
    assert watching.wait(BOUND) == 66


def test_an_interrupted_watch_exits_with_130(shell: Shell, kind: str):
    watching = shell.start("watch", shell("create", kind).strip())
    assert watching.stdout is not None
    watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    assert watching.wait(BOUND) == 130


def test_create_and_wait(shell: Shell, sync_client: JobClient, kind: str):
    creating = shell.start("create", kind, "--wait", "--output", "json")
    [claimed] = sync_client.leases.claim_chunks([kind], worker="w", wait=timedelta(seconds=BOUND))
    sync_client.leases.complete_chunks([claimed.lease.token])
    output, _ = creating.communicate(timeout=BOUND)
    assert creating.returncode == 0
    assert json.loads(output)["state"] == "JOB_STATE_COMPLETED"


def test_watch_follows_many_jobs_with_a_line_for_each_change(shell: Shell, sync_client: JobClient, kind: str):
    first, second, other = (shell("create", kind).strip() for _ in range(3))
    options = ("--state-changes-only", "--change", "CANCEL_REQUESTED", "--change", "CLAIMED")
    watching = shell.start("watch", first, second, *options)
    assert watching.stdout is not None
    shown = [watching.stdout.readline() for _ in range(2)]
    assert sorted(word for line in shown for word in (first, second) if word in line) == sorted([first, second])
    for job_id in (other, first, second):
        sync_client.cancel_job(job_id)
    rest = watching.stdout.read()
    assert (watching.wait(BOUND), rest.count("CANCELLED"), other in rest) == (4, 2, False)
    assert f"job {kind} does not exist" in shell("watch", first, kind, code=66)
    following = shell.start("watch", "--kind", kind, "--from-now", "-o", "json", "--bookmarks")
    assert following.stdout is not None
    assert "BOOKMARK" in following.stdout.readline()
    new = shell("create", kind).strip()
    message = next(read for line in following.stdout if "job" in (read := json.loads(line)))  # after any bookmarks
    assert (message["job"]["jobId"], "createTime" in message["job"]) == (new, False)
    following.send_signal(signal.SIGINT)
    assert following.wait(BOUND) == 130
