"""Artifacts in buckets, over the real drivers: below the root they go and are counted, all else stays."""

from collections.abc import Iterator

import pytest

from tests.bulk.runs import deleting_in, ended, report
from tests.bulk.test_artifacts import job_with, reported_of
from tests.removal.bucket_stores import S3, BucketStore, Gs
from tests.replicas.conftest import Connect
from tests.support.api import Api
from tests.support.databases import new_database
from tests.support.server import Server
from tests.support.states import COMPLETED

pytestmark = pytest.mark.long  # object stores are started, and go away

ROOTS = ("media/out/", "whole", "absent")


@pytest.fixture(scope="module", params=[S3, Gs])
def buckets(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketStore]:
    one: BucketStore = request.param(tmp_path_factory.mktemp("buckets"))
    yield one
    one.kill()


@pytest.fixture(scope="module")
def deleting(buckets: BucketStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server that may delete in these buckets."""
    directory = tmp_path_factory.mktemp("deleting")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in buckets.environment.items():
            patch.setenv(name, value)
        roots = " ".join(f"{buckets.scheme}://{root}" for root in ROOTS)
        with deleting_in(roots, new_database("sqlite", directory), directory) as server:
            yield server


@pytest.fixture
def keeper(connect: Connect, deleting: Server) -> Api:
    """Return the API of that server."""
    return connect(deleting)


async def delete(api: Api, kind: str, *uris: str) -> str:
    """Delete a job with these artifacts; return the job that deletes them."""
    job = await job_with(api, kind, list(uris), [])
    answer = await api.delete(job.job_id, delete_artifacts=True)
    return answer.artifact_job.job_id


async def failures(api: Api, job_id: str) -> list[dict[str, str]]:
    """Wait until an attempt has failed, and return why."""
    async with api.watch_job(job_id) as watch:
        reported = await watch.until(
            lambda message: " 0 failed" not in f" {message.job.progress.message or '0 failed'}"
        )
    return report(reported.job)["failures"]


async def test_objects_below_a_root_go_and_all_others_stay(keeper: Api, buckets: BucketStore, kind: str):
    mine = [f"out/{kind}/{name}" for name in (*range(35), "é", "*", "deep/er/x")]
    kept = {f"out/{kind}-kept", "outside/x", "x", f"out/{kind}/[0-9]", f"out/{kind}/folder/x", f"out/{kind}/100%"}
    buckets.fill("media", *mine, *kept)
    buckets.fill("other", "out/x")
    media = f"{buckets.scheme}://media"
    outside = [f"{media}/{name}" for name in ("outside/x", "x", "out/../x", f"out/{kind}/100%")]
    outside += [f"{buckets.scheme}://other/out/x", "https://h.example/x"]
    inside = [f"{media}/{name}" for name in (*mine, f"out/{kind}/gone")]
    job_id = await delete(keeper, kind, *inside, *outside)
    done = await ended(keeper, job_id)
    assert (done.state, report(done)) == (COMPLETED, reported_of(deleted=38, missing=1, kept=len(outside)))
    assert buckets.names("media") == kept
    assert buckets.names("other") == {"out/x"}


async def test_a_prefix_is_no_object_and_a_whole_bucket_may_be_a_root(keeper: Api, buckets: BucketStore, kind: str):
    whole = f"{buckets.scheme}://whole/{kind}"
    buckets.fill("whole", f"{kind}/a", f"{kind}/b/c")
    job_id = await delete(keeper, kind, f"{whole}/a", f"{whole}/b")
    reported = report(await ended(keeper, job_id))
    assert reported["failures"] == [{"uri": f"{whole}/b", "message": "it is a directory"}]
    assert reported["deleted"] == 1
    assert buckets.names("whole") == {f"{kind}/b/c"}


async def test_objects_of_a_bucket_that_is_not_there_are_not_missing(keeper: Api, buckets: BucketStore, kind: str):
    uri = f"{buckets.scheme}://absent/x"
    job_id = await delete(keeper, kind, uri)
    [reported] = await failures(keeper, job_id)
    assert reported == {"uri": uri, "message": "the bucket absent is not there"}
    assert (await keeper.get(job_id)).chunks_summary.failed == 0  # it will be tried again


# The driver of gs itself tries for half a minute before the service does.
@pytest.mark.parametrize("buckets", [S3], indirect=True, scope="module")
async def test_a_store_that_was_away_is_tried_again_also_by_a_server_that_was_restarted(
    keeper: Api, deleting: Server, connect: Connect, buckets: BucketStore, kind: str
):
    buckets.kill()
    names = [f"out/{kind}/{number}" for number in range(3)]
    job_id = await delete(keeper, kind, *(f"s3://media/{name}" for name in names))
    assert {one["message"] for one in await failures(keeper, job_id)} == {"the store failed: EndpointConnectionError"}
    assert deleting.stop() == 0
    buckets.start()
    buckets.fill("media", *names)
    done = await ended(connect(deleting.start()), job_id)
    assert (done.state, report(done)) == (COMPLETED, reported_of(deleted=3))
    assert not buckets.names("media")
