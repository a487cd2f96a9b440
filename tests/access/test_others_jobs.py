"""An admin reads another owner's jobs by naming it; nobody else does, and nothing leaks by tokens or cursors."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path

import grpc
import pytest
from jobledger.v1.export_pb2 import ExportFormat, ExportJobsRequest
from jobledger.v1.job_service_pb2 import ListJobsRequest, WatchJobsRequest
from jobledger_client import JobClient, RoleMissingError
from jobledger_client.cli._main import run

from tests.access.conftest import As, Keyed
from tests.support.errors import Refusal, invalid, refused
from tests.support.keys import KeyedApi
from tests.support.watching import BOOKMARK, CHANGED, SNAPSHOT

JSON = ExportFormat.EXPORT_FORMAT_JSON_LINES


def foreign(field: str) -> AbstractContextManager[Refusal]:
    """Hold that a token is refused as one of another request."""
    return refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", field)


async def lines(api: KeyedApi, **fields: object) -> tuple[bytes, list[str]]:
    """Return an export, and its resume tokens."""
    pieces = [piece async for piece in api.jobs.ExportJobs(ExportJobsRequest(format=JSON, **fields))]
    return b"".join(piece.data for piece in pieces), [piece.resume_token for piece in pieces]


async def test_an_admin_lists_counts_and_exports_the_jobs_of_a_named_owner(
    admin: KeyedApi, theirs: KeyedApi, owner: str, kind: str
):
    made = [await theirs.create(kind) for _ in range(3)]
    await admin.create(kind)
    listed = await admin.list_jobs(filter={"owner": owner})
    assert [job.job_id for job in listed.jobs] == [job.job_id for job in reversed(made)]
    assert {job.owner for job in listed.jobs} == {owner}
    assert (listed.total_size, listed.total_is_lower_bound) == (3, False)
    assert (await admin.list_jobs(filter={"kinds": [kind]})).total_size == 1
    stats = await admin.stats(owner=owner)
    assert (stats.total.now.queued, [one.kind for one in stats.kinds]) == (3, [kind])
    exported, _ = await lines(admin, filter={"owner": owner})
    assert [job.job_id.encode() in exported for job in made] == [True] * 3
    assert exported.count(b"\n") == 3


async def test_an_admin_watches_the_jobs_of_a_named_owner(
    keyed: Keyed, admin: KeyedApi, theirs: KeyedApi, as_holder: As, owner: str, kind: str
):
    job = await theirs.create(kind)
    elsewhere = as_holder(keyed.replicas[-1], keyed.token)
    cursor = (await admin.list_jobs(filter={"owner": owner})).cursor
    async with elsewhere.watch_jobs(filter={"owner": owner}) as now:
        first = await now.message()
        assert (first.type, first.job.job_id) == (SNAPSHOT, job.job_id)
        async with admin.watch_jobs(filter={"owner": owner}, cursor=cursor) as later:
            await admin.create(kind)  # of another owner
            await theirs.cancel(job.job_id)
            for watch in (now, later):
                change = await watch.change()
                assert (change.type, change.job.job_id, change.job.owner) == (CHANGED, job.job_id, owner)


Ask = Callable[[KeyedApi, str], Awaitable[object]]
ASKED: dict[str, Ask] = {
    "ListJobs": lambda api, owner: api.list_jobs(filter={"owner": owner}),
    "WatchJobs": lambda api, owner: api.jobs.WatchJobs(WatchJobsRequest(filter={"owner": owner})).read(),
    "ExportJobs": lambda api, owner: api.jobs.ExportJobs(
        ExportJobsRequest(filter={"owner": owner}, format=JSON)
    ).read(),
    "GetJobStats": lambda api, owner: api.stats(owner=owner),
}


async def test_without_the_role_no_other_owner_is_named_whether_or_not_it_exists(
    admin: KeyedApi, theirs: KeyedApi, owner: str
):
    for method, ask in ASKED.items():
        await ask(theirs, owner)  # its own
        for named in ("default", "nobody-has-this-name", "not an owner"):
            with refused(grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING") as result:
                await ask(theirs, named)
            assert result.metadata == {"method": method, "role": "ADMIN"}
        with invalid("owner" if method == "GetJobStats" else "filter.owner"):
            await ask(admin, "not an owner")
        await ask(admin, "nobody-has-this-name")


async def test_tokens_of_one_owner_open_nothing_of_another(admin: KeyedApi, theirs: KeyedApi, owner: str, kind: str):
    for _ in range(3):
        await theirs.create(kind)
        await admin.create(kind)
    page = ListJobsRequest(filter={"owner": owner, "kinds": [kind]}, page_size=1)
    token = (await admin.jobs.ListJobs(page)).next_page_token
    page.page_token = token
    assert (await admin.jobs.ListJobs(page)).jobs[0].owner == owner
    assert (await theirs.jobs.ListJobs(page)).jobs[0].owner == owner  # the same request, by who may make it
    page.filter.owner = ""
    with foreign("page_token"):
        await admin.jobs.ListJobs(page)
    mine = ListJobsRequest(filter={"kinds": [kind]}, page_size=1)
    mine.page_token = (await admin.jobs.ListJobs(mine)).next_page_token
    with foreign("page_token"):
        await theirs.jobs.ListJobs(mine)


async def test_an_exports_token_and_a_cursor_are_worth_nothing_without_the_role(
    admin: KeyedApi, theirs: KeyedApi, owner: str, kind: str
):
    for number in range(12):  # of more than one piece, which is 64 KiB
        await theirs.create(kind, display_name=f"{number}" + "x" * 500, labels={f"l{n}": "y" * 250 for n in range(40)})
    _, tokens = await lines(admin, filter={"owner": owner})
    assert tokens[0]
    for api, wanted in ((admin, {}), (theirs, {"kinds": [kind]})):
        with foreign("resume_token"):
            await lines(api, filter=wanted, resume_token=tokens[0])
    with refused(grpc.StatusCode.PERMISSION_DENIED, "ROLE_MISSING"):
        await lines(theirs, filter={"owner": "default"}, resume_token=tokens[0])
    cursor = (await admin.list_jobs(page_size=1)).cursor
    await admin.create(kind)
    async with theirs.watch_jobs(kind, cursor=cursor) as watch:
        assert (await watch.message()).type == BOOKMARK


async def test_the_sdk_and_the_command_line_name_an_owner(
    admin: KeyedApi, theirs: KeyedApi, owner: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    job = await theirs.create(kind)

    def use() -> None:
        with JobClient(admin.target, api_key=admin.token) as client:
            assert [one.job_id for one in client.list_jobs(owner=owner)] == [job.job_id]
            assert client.statistics.get_job_stats(owner=owner).total.now.queued == 1
        with JobClient(admin.target, api_key=theirs.token) as client, pytest.raises(RoleMissingError):
            client.list_jobs(owner="default").page()
        place = ("--target", admin.target, "--api-key", admin.token, "--owner", owner)
        for words in (("list",), ("stats",), ("top", "--once", "--interval", "0.1")):
            assert run([*words, *place]) == 0, words
            assert kind in capsys.readouterr().out, words
        assert run(["export", "--out", str(tmp_path / "jobs.jsonl"), *place]) == 0
        assert kind in (tmp_path / "jobs.jsonl").read_text()

    await asyncio.to_thread(use)
