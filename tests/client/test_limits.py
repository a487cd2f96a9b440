"""Concurrency limits in the SDK: scopes and limits are values."""

from dataclasses import replace
from uuid import uuid4

import pytest
from jobledger.v1.limit_scope_pb2 import LimitScope as Message
from jobledger_client import (
    AsyncJobClient,
    HoldReason,
    JobClient,
    Limit,
    LimitScope,
    NewJob,
    for_each,
    for_kind,
    for_label,
)

from tests.client.shell import Shell
from tests.support.server import Server

pytestmark = pytest.mark.one_store("the SDK sees messages, not the store")


@pytest.fixture
def label() -> str:
    return f"user-{uuid4().hex}"


async def test_limits_are_set_listed_and_deleted(client: AsyncJobClient, label: str):
    scopes = [for_each(label), for_kind(label), for_label(label, "ann")]
    made = [await client.limits.set_limit(scope, number, reason="full") for number, scope in enumerate(scopes)]
    assert all(one.update_time for one in made)
    expected = [
        Limit(scope, number, reason="full", set_by="caller", ceiling=number) for number, scope in enumerate(scopes)
    ]
    assert [replace(one, update_time=None) for one in made] == expected
    mine = [one for one in await client.limits.list_limits() if label in (one.scope.kind, one.scope.label)]
    assert mine == made
    assert [str(one.scope) for one in mine] == [f"each {label}", f"kind {label}", f"label {label}=ann"]
    for scope in (*scopes[:2], Message(label=Message.Label(name=label, value="ann"))):
        await client.limits.delete_limit(scope)
    assert not [one for one in await client.limits.list_limits() if label in (one.scope.kind, one.scope.label)]


def test_a_job_names_the_labels_that_limit_it(sync_client: JobClient, kind: str, label: str):
    sync_client.limits.set_limit(for_each(label), 1)
    jobs = [NewJob(kind, labels={label: "ann"}, limited_labels=[label]) for _ in range(2)]
    assert all(one.created for one in sync_client.create_jobs(jobs))
    sync_client.create_job(kind, labels={label: "ann"}, limited_labels=[label])
    [of_ann] = [one for one in sync_client.limits.list_limits() if one.inherited and one.scope.label == label]
    assert (of_ann.scope, of_ann.max_running) == (for_label(label, "ann"), 1)
    assert (of_ann.running, of_ann.waiting, of_ann.set_by) == (1, 2, "caller")
    with pytest.raises(TypeError, match="limited_labels must be a list of strings"):
        sync_client.create_job(kind, labels={label: "ann"}, limited_labels=label)
    sync_client.limits.delete_limit(for_each(label))


def test_each_scope_is_one_value():
    assert for_kind("a.b") == LimitScope(kind="a.b")
    assert for_label("user", "") == LimitScope(label="user", value="")
    assert for_label("user", "") != for_each("user")


async def test_kinds_are_paused_listed_and_resumed(client: AsyncJobClient, kind: str):
    made = await client.limits.pause_kind(kind, "the disk is full")
    assert (made.kind, made.reason, made.paused_by) == (kind, "the disk is full", "caller")
    assert made.pause_time == made.update_time
    assert [one for one in await client.limits.list_paused_kinds() if one.kind == kind] == [made]
    job_id = (await client.create_job(kind)).job.job_id
    assert [hold.reason for hold in (await client.get_job(job_id)).holds] == [HoldReason.PAUSED]
    assert await client.limits.resume_kind(kind)
    assert not await client.limits.resume_kind(kind)
    assert kind not in [one.kind for one in await client.limits.list_paused_kinds()]


def test_the_commands_pause_list_and_resume_a_kind(
    server: Server, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("JOBLEDGER_TARGET", server.target)
    shell = Shell(server.target, capsys)
    assert shell("pause", kind, "--reason", "the disk is full") == f"{kind}: paused\n"
    job_id = shell.json("create", kind)["job"]["jobId"]
    assert "the end of the pause of its kind" in shell("get", job_id)
    assert "the disk is full" in shell("paused")
    [listed] = [one for one in shell.json("paused")["pausedKinds"] if one["kind"] == kind]
    assert (listed["reason"], listed["pausedBy"]) == ("the disk is full", "caller")
    assert shell.json("resume", kind) == {"resumed": True}
    assert shell("resume", kind) == f"{kind}: was not paused\n"
