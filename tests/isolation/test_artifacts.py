"""Artifacts: with keys, what an owner's jobs delete lies in that owner's directory under the roots."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from jobledger.v1.bulk_pb2 import DeleteJobsRequest
from jobledger.v1.job_service_pb2 import DeleteJobRequest
from jobledger_service.features.artifacts.rules import InvalidRootError, Roots, parse_root

from tests.bulk.runs import ended, report
from tests.bulk.test_artifacts import delete, job_with, job_with_many, names, reported_of
from tests.support.states import COMPLETED
from tests.test_server import refused_to_start

from .conftest import Tenants


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """Return a directory in which alice and bob have one each, with a file."""
    media = tmp_path / "media"
    for owner in ("alice", "bob"):
        (media / owner).mkdir(parents=True)
        (media / owner / "film").write_text(owner)
    return media


@pytest.fixture
async def deleting(store: str, tmp_path: Path, media: Path) -> AsyncIterator[Tenants]:
    """Return a server with keys that may delete in the directories of owners."""
    root = f"file://{media}/{{owner}}/"
    roots = f"{root} https://media.example/{{owner}}/={root} https://any.example/={root}"
    shared = Tenants(store, tmp_path, artifact_roots=roots, allow_file_artifacts="true")
    yield shared
    await shared.close()


@pytest.mark.guarantee("3b.8")
async def test_an_owner_deletes_nothing_of_another_by_an_artifact(deleting: Tenants, kind: str, media: Path):
    alice, bob = await deleting.api("alice"), await deleting.api("bob")
    (media / "alice" / "link").symlink_to(media / "bob")
    at = f"file://{media}"
    hostile = [
        f"{at}/bob/film",
        f"{at}/alice/../bob/film",
        f"{at}/alice/%2e%2e/bob/film",
        f"{at}/%62ob/film",
        f"{at}/{{owner}}/film",
        f"{at}/%7Bowner%7D/film",
        "https://media.example/bob/film",
        "https://media.example/{owner}/film",
        "https://any.example/../bob/film",
        f"{at}/alice",
    ]
    within = [f"{at}/alice/film", f"{at}/alice/link", "https://media.example/alice/none", "https://any.example/none"]
    job = await job_with(alice, kind, [*hostile, *within], [])
    done = await ended(alice, (await delete(alice, job)).job_id)
    assert (done.owner, done.state) == ("alice", COMPLETED)
    assert report(done) == reported_of(deleted=2, missing=2, kept=len(hostile))
    assert not names(media / "alice")
    assert (media / "bob" / "film").read_text() == "bob"
    his = await job_with(bob, kind, [f"{at}/bob/film"], [])
    assert report(await ended(bob, (await delete(bob, his)).job_id))["deleted"] == 1
    assert not names(media / "bob")


async def test_a_run_over_many_jobs_deletes_nothing_of_another_owner(deleting: Tenants, kind: str, media: Path):
    alice = await deleting.api("alice")
    await job_with(alice, kind, [f"file://{media}/bob/film"], [])
    await job_with(alice, kind, [f"file://{media}/alice/film"], [])
    answer = await alice.jobs.DeleteJobs(DeleteJobsRequest(filter={"kinds": [kind]}, delete_artifacts=True))
    reported = report(await ended(alice, answer.job.job_id))
    assert reported["applied"] == 2
    async with alice.watch_jobs("jobledger.artifacts") as watch:
        last = await watch.until(lambda message: message.job.state == COMPLETED)
    assert report(last.job) == reported_of(deleted=1, kept=1)
    assert not names(media / "alice")
    assert (media / "bob" / "film").read_text() == "bob"


@pytest.mark.guarantee("3b.2")
async def test_commands_of_others_are_carried_out_between_the_steps_of_a_removal(
    deleting: Tenants, kind: str, media: Path
):
    alice, bob = await deleting.api("alice"), await deleting.api("bob")
    job, count = await job_with_many(alice, kind, media / "alice")
    removal = await delete(alice, job)
    async with alice.watch_job(removal.job_id) as watch:
        await watch.until(lambda message: message.job.progress.percent > 0)
        created = await bob.create(kind)
        assert (await bob.get(created.job_id)).job_id == created.job_id
    done = await ended(alice, removal.job_id)
    assert report(done) == reported_of(deleted=count)
    assert done.start_time.ToNanoseconds() < created.create_time.ToNanoseconds() < done.end_time.ToNanoseconds()
    assert names(media / "alice") == ["film"]
    assert (media / "bob" / "film").read_text() == "bob"


@pytest.mark.guarantee("3b.8")
async def test_an_admin_deletes_for_an_owner_below_that_owners_directory_alone(
    deleting: Tenants, kind: str, media: Path
):
    alice, operator = await deleting.api("alice"), deleting.admin
    (media / "default").mkdir()  # of the admin's own owner
    (media / "default" / "film").write_text("default")
    everybodys = [f"file://{media}/{owner}/film" for owner in ("alice", "bob", "default")]
    one, other = [await job_with(alice, kind, everybodys, []) for _ in range(2)]
    asked = DeleteJobRequest(job_id=one.job_id, owner="alice", delete_artifacts=True)
    answer = await operator.jobs.DeleteJob(asked)
    assert answer.artifact_job.owner == "alice"
    done = await ended(alice, answer.artifact_job.job_id)
    assert report(done) == reported_of(deleted=1, kept=2)
    many = DeleteJobsRequest(job_ids=[other.job_id], filter={"owner": "alice"}, delete_artifacts=True)
    run = await ended(operator, (await operator.jobs.DeleteJobs(many)).job.job_id)
    assert (run.owner, report(run)["applied"], report(run)["artifact_jobs"]) == ("default", 1, 1)
    async with alice.watch_jobs("jobledger.artifacts") as watch:
        removed = await watch.until(
            lambda message: message.job.job_id != done.job_id and message.job.state == COMPLETED
        )
    assert report(removed.job) == reported_of(missing=1, kept=2)
    assert [(media / owner / "film").exists() for owner in ("alice", "bob", "default")] == [False, True, True]


@pytest.mark.parametrize(
    ("roots", "result"),
    [
        ("file:///srv/media/", "shared by all owners"),
        ("file:///srv/{owner}/ file:///srv/", "shared by all owners"),
        ("https://media.example/{owner}/=file:///srv/", "put {owner} after the ="),
        ("file:///srv/team-{owner}/", "braces"),
        ("file:///srv/{owner}/{owner}/", "braces"),
        ("file:///srv/{owner}/ file:///srv/alice/{owner}/", "overlap"),
    ],
)
def test_roots_that_owners_share_are_refused(roots: str, result: str):
    with pytest.raises(InvalidRootError, match=re.escape(result)):
        Roots([parse_root(root) for root in roots.split()]).check_owned()


def test_with_keys_a_server_does_not_start_with_a_root_that_owners_share(tmp_path: Path):
    arguments = ("--database", f"sqlite:///{tmp_path}/x.db", "--auth", "keys", "--artifact-roots", "file:///srv/media/")
    reported = refused_to_start(tmp_path, *arguments, status=78)
    assert "--artifact-roots: " in reported
    assert "shared by all owners" in reported


async def test_an_operator_may_report_that_owners_share_a_root(store: str, tmp_path: Path, media: Path, kind: str):
    shared = {"artifact_roots": f"file://{media}/", "artifact_roots_shared_by_all_owners": "true"}
    tenants = Tenants(store, tmp_path, allow_file_artifacts="true", **shared)
    alice = await tenants.api("alice")
    job = await job_with(alice, kind, [f"file://{media}/bob/film"], [])
    assert report(await ended(alice, (await delete(alice, job)).job_id))["deleted"] == 1
    await tenants.close()
    assert not names(media / "bob")
