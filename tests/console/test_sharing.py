"""What open pages cost the server: equal questions are one watch, and none is left when the pages are closed."""

from jobledger_client import JobClient

from tests.console.conftest import OpenPage
from tests.console.console import Console


def test_pages_with_equal_questions_share_a_watch(
    console: Console, client: JobClient, open_page: OpenPage, kind: str
) -> None:
    client.create_job(kind, job_id=kind, display_name="shared")
    before = client.admin.get_quota().watch_count
    first = open_page(f"{console.address}/?kind={kind}")
    addresses = [f"/?kind={kind}{order}" for order in ("", "&order=priority-up", "&order=create_time-up", "")]
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
