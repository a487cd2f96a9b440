"""What open pages cost the server: equal questions are one watch, and none is left when the pages are closed."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack

import pytest
from jobledger_client import AsyncJobClient, JobClient, JobOrder
from jobledger_console.jobs.query import JobQuery
from jobledger_console.pages.jobs import watching
from jobledger_console.streams import SharedStreams

from tests.console.conftest import OpenPage
from tests.console.console import Console
from tests.support.server import Server


@pytest.mark.guarantee("3e.12")
def test_pages_with_equal_questions_share_a_watch(
    console: Console, client: JobClient, open_page: OpenPage, kind: str
) -> None:
    client.create_job(kind, job_id=kind, display_name="shared")
    before = client.admin.get_quota().watch_count
    first = open_page(f"{console.address}/?kind={kind}")
    addresses = [f"/?kind={kind}{order}" for order in ("", "&order=priority_asc", "&order=create_time_asc", "")]
    addresses += [f"/jobs/{kind}"] * 3
    pages = [first, *(open_page(console.address + address, in_context_of=first) for address in addresses)]
    for page in pages[:5]:
        page.get_by_role("link", name="shared").wait_for()
    for page in pages[5:]:
        page.get_by_role("heading", name="Events").wait_for()
    assert client.admin.get_quota().watch_count == before + 2, "one of the list, one of the job"

    client.update_job(kind, display_name="renamed")
    for page in pages[:5]:
        page.get_by_role("link", name="renamed").wait_for()
    for page in pages[5:]:
        page.get_by_role("heading", name="renamed").wait_for()
    for page in pages:
        page.close()
    while client.admin.get_quota().watch_count > before:  # the console waits some seconds for browsers that come back
        pass


class Ear:
    """Hears a watch, and does nothing about it."""

    def on_message(self, message: object) -> None: ...

    def on_relist(self) -> None: ...

    def on_end(self, error: object) -> None: ...


@pytest.mark.guarantee("3e.12")
def test_fifty_equal_questions_are_one_watch_and_fifty_others_fifty(server: Server, kind: str) -> None:
    with ThreadPoolExecutor(1) as thread:  # the loop of the browser runs on this one
        thread.submit(asyncio.run, ask_fifty_times(server.target, kind)).result()


async def ask_fifty_times(target: str, kind: str) -> None:
    """Ask equal questions, and then different ones, and count the watches."""
    async with AsyncJobClient(target, api_key="") as client:

        async def open_watches() -> int:
            return (await client.admin.get_quota()).watch_count

        before = await open_watches()
        streams = SharedStreams(client)
        for queries, watches in (
            ([JobQuery(kinds=(kind,), order=order) for order in JobOrder] * 13, 1),
            ([JobQuery(kinds=(kind,), search=f"word{number}") for number in range(50)], 50),
        ):
            async with AsyncExitStack() as stack:
                for query in queries:
                    await stack.enter_async_context(streams.follow(query.filter, watching(query), Ear()))
                assert await open_watches() == before + watches
            assert len(streams) == 0
            while await open_watches() > before:
                pass
