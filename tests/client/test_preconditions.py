"""A uid and an etag in the SDK and the command line: a call means one job, as its caller has read it."""

import pytest
from jobledger.v1.worker_service_pb2 import LeaseReport
from jobledger_client import EtagMismatchError, JobClient, JobNotFoundError

from tests.client.shell import Shell
from tests.support.bounds import CALL_TIMEOUT

pytestmark = pytest.mark.one_store("the SDK sees messages, not the store")


def test_a_uid_names_one_job_in_each_method(sync_client: JobClient, kind: str):
    first = sync_client.create_job(kind, job_id=kind).job
    sync_client.delete_job(kind, uid=first.uid, force=True)
    second = sync_client.create_job(kind, job_id=kind).job
    for call in (
        lambda uid: sync_client.get_job(kind, uid=uid),
        lambda uid: sync_client.update_job(kind, priority=9, uid=uid),
        lambda uid: list(sync_client.list_chunks(kind, uid=uid)),
        lambda uid: list(sync_client.list_attempts(kind, uid=uid)),
        lambda uid: next(iter(sync_client.watch(kind, uid=uid))),
        lambda uid: sync_client.leases.claim_chunk(kind, 0, worker="w", uid=uid),
        lambda uid: sync_client.cancel_job(kind, uid=uid, force=True),
        lambda uid: sync_client.wait(kind, uid=uid, timeout=CALL_TIMEOUT),
        lambda uid: sync_client.retry_job(kind, uid=uid),
        lambda uid: sync_client.delete_job(kind, uid=uid, force=True),
    ):
        with pytest.raises(JobNotFoundError):
            call(first.uid)
        call(second.uid)


def test_an_etag_is_good_after_progress(sync_client: JobClient, kind: str):
    job_id = sync_client.create_job(kind).job.job_id
    [claimed] = sync_client.leases.claim_chunks([kind], worker="w")
    etag = sync_client.get_job(job_id).etag
    sync_client.leases.heartbeat([LeaseReport(lease_token=claimed.lease.token, progress={"percent": 50})])
    assert sync_client.update_job(job_id, priority=9, etag=etag).progress.percent == 50
    with pytest.raises(EtagMismatchError):
        sync_client.cancel_job(job_id, etag=etag)


def test_the_command_line_names_one_job(shell: Shell, kind: str):
    job_id = shell("create", kind, "--job-id", kind).strip()
    first = shell.json("get", job_id)
    shell("delete", job_id, "--force", "--uid", first["uid"])
    shell("create", kind, "--job-id", kind)
    second = shell.json("get", job_id, "--uid", shell.json("get", job_id)["uid"])
    reads = ["get"], ["watch"], ["chunks"], ["attempts"]
    for words in (*reads, ["cancel"], ["retry"], ["update", "--priority", "9"], ["delete", "--force"]):
        shell(*words, job_id, "--uid", first["uid"], code=66)
    shell("update", job_id, "--priority", "9", "--uid", second["uid"], "--etag", second["etag"])
    assert shell.json("chunks", job_id, "--uid", second["uid"])["chunks"][0]["index"] == 0
    assert shell.json("attempts", job_id, "--uid", second["uid"])["attempts"] == []
    shell("cancel", job_id, "--uid", second["uid"])
    assert "CANCELLED" in shell("watch", job_id, "--uid", second["uid"], code=4)
    shell("retry", job_id, "--uid", second["uid"])
    assert shell.json("get", job_id)["retryCount"] == 1
