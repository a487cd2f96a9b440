"""delete_artifacts: what artifacts point at goes with their job, below the allowed roots and nowhere else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict
from jobledger.v1.bulk_pb2 import DeleteJobsRequest
from jobledger.v1.job_pb2 import Job

from tests.bulk.runs import deleting_in, ended, report
from tests.replicas.conftest import Connect
from tests.support.api import Api
from tests.support.databases import new_database
from tests.support.server import Server
from tests.support.states import COMPLETED, FAILED
from tests.test_server import refused_to_start


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory that the server may delete in."""
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="module")
def deleting(store: str, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server that may delete there."""
    directory = tmp_path_factory.mktemp("deleting")
    roots = f"file://{root} file:///nowhere/at/all/ https://media.example/=file://{root}/"
    with deleting_in(roots, new_database(store, directory), directory, allow_file_artifacts="true") as server:
        yield server


@pytest.fixture
def keeper(connect: Connect, deleting: Server) -> Api:
    """Return the API of that server."""
    return connect(deleting)


@pytest.fixture
def media(root: Path, kind: str) -> Path:
    """Return a directory of the test's own below the root."""
    (root / kind).mkdir()
    return root / kind


async def job_with(api: Api, kind: str, of_chunk: list[str], of_job: list[str]) -> Job:
    """Create a job that has ended and left artifacts at these addresses."""
    job = await api.create(kind)
    [claimed] = await api.claim(kind)
    named = [{f"{n}": {"uri": uri} for n, uri in enumerate(uris)} for uris in (of_chunk, of_job)]
    await api.complete(claimed, progress={"artifacts": named[0], "job_artifacts": named[1]})
    return job


async def job_with_many(api: Api, kind: str, directory: Path) -> tuple[Job, int]:
    """Create a job whose 20 chunks left 50 files each; return it and the number of files."""
    job = await api.create(kind, item_count=20, chunk_size=1)
    for n in range(20):
        [claimed] = await api.claim(kind)
        artifacts = {f"{k}": {"uri": file(directory, f"{n}-{k}")} for k in range(50)}
        await api.complete(claimed, progress={"artifacts": artifacts})
    return job, 20 * 50


async def delete(api: Api, job: Job) -> Job:
    """Delete a job with its artifacts; return the job that deletes these."""
    return (await api.delete(job.job_id, delete_artifacts=True)).artifact_job


def reported_of(**counts: int) -> dict[str, object]:
    """Return the report of a job that deletes artifacts, without failures."""
    return {"deleted": 0, "missing": 0, "kept": 0, "failed": 0, "failures": [], **counts}


def file(directory: Path, name: str) -> str:
    """Make a file and return its address."""
    (directory / name).write_text("x")
    return f"file://{directory}/{name}"


def names(directory: Path) -> list[str]:
    """Return what is in a directory."""
    return [one.name for one in directory.iterdir()]


async def test_files_below_a_root_go_and_others_stay(keeper: Api, kind: str, media: Path, tmp_path: Path):
    mine = [file(media, f"{n}") for n in range(45)]
    other = file(tmp_path, "other")
    gone = f"file://{media}/gone"
    job = await job_with(keeper, kind, [*mine, gone], [mine[0], other, "s3://bucket/x"])
    reported = await delete(keeper, job)
    assert (reported.kind, reported.labels["jobledger.deleted-job"]) == ("jobledger.artifacts", job.job_id)
    assert (reported.display_name, reported.chunks_summary.total) == (f"artifacts of {job.job_id}", 1)
    done = await ended(keeper, reported.job_id)
    assert (done.state, report(done)) == (COMPLETED, reported_of(deleted=45, missing=2, kept=2))
    assert not names(media)
    assert (tmp_path / "other").exists()
    inputs = await keeper.get(reported.job_id)
    assert MessageToDict(inputs.input) == {"called_by": "caller", "deleted_jobs": [job.job_id]}


async def test_what_is_named_by_its_download_address_goes_too(keeper: Api, kind: str, media: Path):
    file(media, "mine")
    file(media, "kept")
    addresses = [f"https://media.example/{kind}/mine", f"https://media.example/{kind}/../kept"]
    job = await job_with(keeper, kind, addresses, ["https://elsewhere.example/mine"])
    done = await ended(keeper, (await delete(keeper, job)).job_id)
    assert report(done) == reported_of(deleted=1, kept=2)
    assert names(media) == ["kept"]


async def test_without_artifacts_there_is_no_job_and_with_some_it_reports_what_it_keeps(keeper: Api, kind: str):
    bare = await job_with(keeper, kind, [], [])
    answer = await keeper.delete(bare.job_id, delete_artifacts=True)
    assert not answer.HasField("artifact_job")
    removal = await delete(keeper, await job_with(keeper, kind, ["s3://bucket/x"], []))
    done = await ended(keeper, removal.job_id)
    assert (done.state, report(done)) == (COMPLETED, reported_of(kept=1))


async def test_artifacts_stay_unless_they_are_to_go(keeper: Api, kind: str, media: Path):
    job = await job_with(keeper, kind, [file(media, "a")], [])
    answer = await keeper.delete(job.job_id)
    assert not answer.HasField("artifact_job")
    assert (media / "a").exists()


async def test_what_cannot_be_deleted_fails_the_job_and_a_retry_tries_that_alone(keeper: Api, kind: str, media: Path):
    (media / "directory").mkdir()
    job = await job_with(keeper, kind, [file(media, "a"), f"file://{media}/directory", file(media, "b")], [])
    failed = await ended(keeper, (await delete(keeper, job)).job_id)
    assert (failed.state, failed.error.code) == (FAILED, "ARTIFACTS_NOT_DELETED")
    directory = {"uri": f"file://{media}/directory", "message": "it is a directory"}
    assert report(failed) == reported_of(deleted=2, failed=1) | {"failures": [directory]}
    (media / "directory").rmdir()
    (media / "directory").write_text("x")
    file(media, "a")
    await keeper.retry(failed.job_id)
    done = await ended(keeper, failed.job_id)
    assert (done.state, report(done)) == (COMPLETED, reported_of(deleted=3))
    assert names(media) == ["a"]


async def test_many_jobs_leave_one_job_for_their_artifacts(keeper: Api, kind: str, media: Path):
    for n in range(5):
        await job_with(keeper, kind, [file(media, f"{n}"), "s3://bucket/x"], [])
    answer = await keeper.jobs.DeleteJobs(DeleteJobsRequest(filter={"kinds": [kind]}, delete_artifacts=True))
    reported = report(await ended(keeper, answer.job.job_id))
    assert (reported["applied"], reported["artifact_jobs"]) == (5, 1)
    async with keeper.watch_jobs("jobledger.artifacts") as watch:
        mine = "artifacts of 5 jobs"
        last = await watch.until(lambda message: (message.job.display_name, message.job.state) == (mine, COMPLETED))
    assert report(last.job) == reported_of(deleted=5, kept=5)
    assert not names(media)


@pytest.mark.parametrize("roots", ["https://host/x", "file:///srv/a file:///srv/a//b"])
def test_a_server_does_not_start_with_a_root_that_is_invalid(tmp_path: Path, roots: str):
    arguments = ("--database", f"sqlite:///{tmp_path}/x.db", "--artifact-roots", roots)
    assert "--artifact-roots: " in refused_to_start(tmp_path, *arguments, status=78)
