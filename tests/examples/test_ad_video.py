"""B: the page has each scene as soon as it exists, and its tabs are full pages."""

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from jobledger_client import InvalidFieldError, JobClient, PageTokenInvalidError

from examples.ad_video.__main__ import follow, start
from examples.ad_video.page import TABS, Shown, tab
from examples.ad_video.scenes import FRAMES, frames_in
from examples.ad_video.submit import SCENE_SECONDS, submit
from examples.bucket import read
from tests.examples.answers import assert_no_local_paths
from tests.support.server import Server

SCENES = 3


@pytest.fixture(scope="module")
def pages(caller: JobClient, server: Server, stack: ExitStack, folder: Path) -> list[Shown]:
    """Return what the page showed, from the beginning to the end."""
    job = submit(caller, "ada", "A lighthouse that dances", SCENES * SCENE_SECONDS)
    watching = follow(caller, job.job_id)
    first = next(watching)
    start(stack, server.target, folder)
    return [first, *watching]


def test_the_page_begins_with_nothing(pages: list[Shown]):
    assert pages[0] == Shown(
        state="QUEUED", percent=0, stage="", thumbnail=None, audio=None, scenes_completed=0, scenes={}, video=None
    )


def test_the_page_has_previews_before_the_end(pages: list[Shown]):
    early = [page for page in pages if page["thumbnail"] and page["audio"] and page["scenes_completed"] < SCENES]
    assert early
    assert early[0]["video"] is None
    assert [page["percent"] for page in pages] == sorted(page["percent"] for page in pages)


def test_each_scene_is_there_when_it_counts(pages: list[Shown]):
    for page in pages:
        assert len(page["scenes"]) >= page["scenes_completed"]
    assert {f"scene_{n}_complete" for n in range(1, SCENES + 1)} >= {
        page["stage"] for page in pages if page["scenes_completed"]
    }


def test_the_end_has_everything(pages: list[Shown], folder: Path):
    last = pages[-1]
    assert (last["state"], last["percent"], last["scenes_completed"]) == ("COMPLETED", 100, SCENES)
    assert list(last["scenes"]) == [f"scene_{n}" for n in range(1, SCENES + 1)]
    assert last["video"] is not None
    assert frames_in(read(last["video"])) == SCENES * SCENE_SECONDS * FRAMES
    assert_no_local_paths(last, folder)


@pytest.fixture(scope="module")
def prompts(caller: JobClient) -> None:
    """Make 45 jobs for one user, each third cancelled, among those of another."""
    for number in range(45):
        job = submit(caller, "grace", f"Film {number} of a singing kettle", 1, priority=number % 3)
        submit(caller, "edsger", f"Film {number} of a silent kettle", 1)
        if number % 3 == 0:
            caller.cancel_job(job.job_id)


@pytest.mark.usefixtures("prompts")
class TestTabs:
    def test_a_page_is_full_and_only_the_users(self, caller: JobClient):
        first = tab(caller, "grace", "pending").page()
        assert (len(first.jobs), first.total_size) == (20, 30)
        assert {job.labels["user"] for job in first.jobs} == {"grace"}
        times = [job.create_time.ToNanoseconds() for job in first.jobs]
        assert times == sorted(times, reverse=True), "newest first"
        second = tab(caller, "grace", "pending", page_token=first.next_page_token).page()
        assert len(second.jobs) == 10
        assert not {job.job_id for job in first.jobs} & {job.job_id for job in second.jobs}

    @pytest.mark.parametrize(
        ("name", "count"), [("all", 45), ("pending", 30), ("processing", 0), ("completed", 0), ("failed", 0)]
    )
    def test_every_tab(self, caller: JobClient, name: str, count: int):
        assert name in TABS
        assert len(list(tab(caller, "grace", name, page_size=100))) == count

    @pytest.mark.parametrize(("asked", "given"), [(1, 1), (100, 45)])
    def test_page_sizes(self, caller: JobClient, asked: int, given: int):
        assert len(tab(caller, "grace", page_size=asked).page().jobs) == given

    def test_a_negative_page_size_and_a_foreign_token_are_refused(self, caller: JobClient):
        with pytest.raises(InvalidFieldError):
            tab(caller, "grace", page_size=-1).page()
        token = tab(caller, "grace", page_size=5).page().next_page_token
        with pytest.raises(PageTokenInvalidError):
            tab(caller, "edsger", page_token=token).page()

    def test_a_page_is_not_moved_by_new_jobs(self, caller: JobClient):
        first = tab(caller, "edsger", page_size=5).page()
        submit(caller, "edsger", "one more", 1)
        second = tab(caller, "edsger", page_size=5, page_token=first.next_page_token).page()
        assert not {job.job_id for job in first.jobs} & {job.job_id for job in second.jobs}

    def test_search_dates_several_states_and_other_orders(self, caller: JobClient):
        assert [job.display_name for job in tab(caller, "grace", search="Film 7 of")] == ["Film 7 of a singing kettle"]
        tomorrow = datetime.now(tz=UTC) + timedelta(days=1)
        assert not list(tab(caller, "grace", since=tomorrow))
        both = caller.list_jobs(labels={"user": "grace"}, states=["QUEUED", "CANCELLED"], page_size=100)
        assert len(list(both)) == 45
        urgent = list(caller.list_jobs(labels={"user": "grace"}, order="PRIORITY", page_size=100))
        assert [job.priority for job in urgent] == sorted((job.priority for job in urgent), reverse=True)
