"""B: the page has each scene as soon as it exists, and its tabs are full pages."""

from collections.abc import Iterable
from contextlib import ExitStack
from datetime import UTC, timedelta
from pathlib import Path

import pytest
from jobledger.v1.chunk_pb2 import Artifact, WorkError
from jobledger.v1.job_pb2 import Job
from jobledger.v1.worker_service_pb2 import ChunkFailure
from jobledger_client import (
    AttemptOutcome,
    InvalidFieldError,
    JobClient,
    JobOrder,
    JobState,
    PageTokenInvalidError,
    WatchMode,
)

from examples.ad_video.__main__ import start
from examples.ad_video.page import TABS, Shown, shown, tab
from examples.ad_video.scenes import FRAMES, frames_in
from examples.ad_video.submit import KIND, SCENE_SECONDS, submit
from examples.bucket import read
from tests.examples.answers import assert_no_local_paths
from tests.support.bounds import CALL_TIMEOUT
from tests.support.server import Server

pytestmark = pytest.mark.one_store("the examples see messages, not the store")

SCENES = 3


@pytest.fixture(scope="module")
def pages(caller: JobClient, server: Server, folder: Path) -> list[Shown]:
    """Return what the page shows after each commit, from the beginning to the end; the workers are gone then."""
    job = submit(caller, "ada", "A lighthouse that dances", SCENES * SCENE_SECONDS)
    watching = (shown(message.job) for message in caller.watch(job.job_id, mode=WatchMode.EVERY, timeout=CALL_TIMEOUT))
    first = next(watching)
    with ExitStack() as stack:
        start(stack, server.target, folder)
        reported = [first, *watching]
        assert frames_in(read(reported[-1]["video"] or "")) == SCENES * SCENE_SECONDS * FRAMES
    return reported


def test_the_page_begins_with_nothing(pages: list[Shown]):
    assert pages[0] == Shown(
        state="QUEUED", percent=0, stage="", thumbnail=None, audio=None, scenes_completed=0, scenes={}, video=None
    )


def test_the_page_has_the_thumbnail_and_the_sound_before_the_video(pages: list[Shown]):
    early = [page for page in pages if page["thumbnail"] and page["audio"] and page["state"] == "RUNNING"]
    assert early
    assert not any(page["video"] for page in early)
    assert [page["percent"] for page in pages] == sorted(page["percent"] for page in pages)


def test_a_scene_is_shown_by_the_commit_that_completes_it_while_others_are_made(pages: list[Shown]):
    for page in pages:
        assert len(page["scenes"]) >= page["scenes_completed"]
    some = [page for page in pages if 0 < page["scenes_completed"] < SCENES]
    assert some, "two workers complete two scenes in one commit at most"
    for page in some:
        assert page["stage"] == f"scene_{page['scenes_completed']}_complete"
        assert (page["state"], page["video"]) == ("RUNNING", None)


def test_the_end_has_everything(pages: list[Shown], folder: Path):
    last = pages[-1]
    assert (last["state"], last["percent"], last["scenes_completed"]) == ("COMPLETED", 100, SCENES)
    assert list(last["scenes"]) == [f"scene_{n}" for n in range(1, SCENES + 1)]
    assert last["video"] is not None
    assert_no_local_paths(last, folder)


def test_the_scene_that_the_model_refused_waited_for_its_time(caller: JobClient, pages: list[Shown]):
    assert pages, "after that one, which has ended"
    [job] = caller.list_jobs(search="lighthouse", states=[JobState.COMPLETED])
    assert [chunk.attempt for chunk in caller.list_chunks(job.job_id)] == [1, 2, 1, 1]
    refused, again = caller.list_attempts(job.job_id, chunk_index=1)
    assert (refused.outcome, refused.error.code) == (AttemptOutcome.FAILED, "TOO_MANY_REQUESTS")
    waited = again.start_time.ToDatetime() - refused.end_time.ToDatetime()
    assert waited >= timedelta(seconds=2), "the Retry-After of the model; the retry policy alone waits for 1 s"


def test_a_scene_is_a_chunk_of_two_seconds_and_the_last_has_what_is_left(caller: JobClient, pages: list[Shown]):
    assert pages, "after that one, so that nobody works on this"
    job = submit(caller, "donald", "A lighthouse that yawns", 2 * SCENE_SECONDS + 0.5)
    chunks = list(caller.list_chunks(job.job_id))
    assert chunks.pop().finalizer
    assert [chunk.input["seconds"] for chunk in chunks] == [SCENE_SECONDS, SCENE_SECONDS, 0.5]


def test_the_page_has_scenes_in_the_order_of_their_numbers():
    job = Job(artifacts={f"scene_{number}": Artifact(uri=f"https://media.example/{number}") for number in range(1, 12)})
    assert list(shown(job)["scenes"]) == [f"scene_{number}" for number in range(1, 12)]


FILMS = 105


@pytest.fixture(scope="module")
def films(caller: JobClient, pages: list[Shown]) -> list[Job]:
    """Make 105 jobs for one user, each third cancelled, among those of another."""
    assert pages, "after that one, so that nobody works on these"
    made = []
    for number in range(FILMS):
        made.append(submit(caller, "grace", f"Film {number} of a singing kettle", 1, priority=number % 3))
        submit(caller, "edsger", f"Film {number} of a silent kettle", 1)
    for job in reversed(made[::3]):  # so that they ended in another order than they were created in
        caller.cancel_job(job.job_id)
    return made


def names(jobs: Iterable[Job]) -> list[str]:
    return [job.display_name for job in jobs]


class TestTroubleToday:
    """What the team could not do before, line by line."""

    def test_a_tab_has_full_pages_of_one_user_among_the_jobs_of_another(self, caller: JobClient, films: list[Job]):
        waiting = [job.job_id for number, job in enumerate(films) if number % 3]
        first = tab(caller, "grace", "pending").page()
        assert (len(first.jobs), first.total_size) == (20, len(waiting))
        pages = [first]
        while pages[-1].next_page_token:
            pages.append(tab(caller, "grace", "pending", page_token=pages[-1].next_page_token).page())
        assert [len(page.jobs) for page in pages] == [20, 20, 20, 10]
        assert [job.job_id for page in pages for job in page.jobs] == waiting[::-1], "newest first, each once"

    def test_a_page_is_not_moved_by_new_jobs_as_one_with_a_number_is(self, caller: JobClient, films: list[Job]):
        assert films
        before = tab(caller, "edsger", page_size=10).page().jobs
        first = tab(caller, "edsger", page_size=5).page()
        submit(caller, "edsger", "one more", 1)
        second = tab(caller, "edsger", page_size=5, page_token=first.next_page_token).page()
        assert [job.job_id for job in (*first.jobs, *second.jobs)] == [job.job_id for job in before]

    def test_several_states_at_once(self, caller: JobClient, films: list[Job]):
        both = list(caller.list_jobs(labels={"user": "grace"}, states=[JobState.QUEUED, JobState.CANCELLED]))
        assert [job.job_id for job in both] == [job.job_id for job in reversed(films)]
        assert {job.state for job in both} == {JobState.QUEUED, JobState.CANCELLED}

    def test_a_date_range(self, caller: JobClient, films: list[Job]):
        since, until = (films[n].create_time.ToDatetime(UTC) for n in (20, 30))
        found = names(tab(caller, "grace", since=since, until=until))
        assert found == names(films[29:19:-1]), "the first moment is in, the last is out"

    def test_a_search_in_the_prompt(self, caller: JobClient, films: list[Job]):
        assert names(tab(caller, "grace", search="film 70 SING")) == [films[70].display_name]
        assert len(list(tab(caller, "grace", "pending", search="kettle", page_size=100))) == 70
        assert names(tab(caller, "grace", search="silent")) == []

    @pytest.mark.parametrize("order", [order for order in JobOrder if not order.name.startswith("END_TIME")])
    def test_every_order(self, caller: JobClient, films: list[Job], order: JobOrder):
        found = list(tab(caller, "grace", order=order, page_size=100))
        field, _, direction = order.name.lower().rpartition("_")
        values = [getattr(job, field) for job in found]
        keys = [value if isinstance(value, int) else value.ToNanoseconds() for value in values]
        assert (len(keys), keys) == (len(films), sorted(keys, reverse=direction == "desc"))

    def test_those_that_ended_in_their_order(self, caller: JobClient, films: list[Job]):
        ended = caller.list_jobs(labels={"user": "grace"}, states=[JobState.CANCELLED], order=JobOrder.END_TIME_DESC)
        assert [job.job_id for job in ended] == [job.job_id for job in films[::3]], "the last to end was the first made"


@pytest.mark.usefixtures("films")
class TestTabs:
    @pytest.mark.parametrize(("name", "count"), [("pending", 70), ("processing", 0), ("completed", 0), ("failed", 0)])
    def test_every_tab(self, caller: JobClient, name: str, count: int):
        assert name in TABS
        assert len(list(tab(caller, "grace", name, page_size=100))) == count

    def test_every_tab_has_those_of_its_states(self, caller: JobClient):
        jobs = [submit(caller, "barbara", f"Film {number}", 1, priority=10).job_id for number in range(4)]
        working, done, failed = caller.leases.claim_chunks([KIND], worker="hand", max_chunks=3)
        caller.leases.complete_chunks([done.lease.token])
        [last] = caller.leases.claim_chunks(job_ids=[done.job_id], worker="hand")
        caller.leases.complete_chunks([last.lease.token])
        error = WorkError(code="NO_IDEA")
        caller.leases.fail_chunks([ChunkFailure(lease_token=failed.lease.token, error=error, not_retryable=True)])
        found = {name: [job.job_id for job in tab(caller, "barbara", name)] for name in TABS}
        ids = {"pending": jobs[3], "processing": working.job_id, "completed": done.job_id, "failed": failed.job_id}
        assert found == {name: [job_id] for name, job_id in ids.items()}

    def test_the_tab_of_all(self, caller: JobClient):
        jobs = list(tab(caller, "grace"))
        assert (len(jobs), {job.labels["user"] for job in jobs}) == (FILMS, {"grace"})

    @pytest.mark.parametrize("size", [1, 20, 100])
    def test_page_sizes(self, caller: JobClient, size: int):
        assert len(tab(caller, "grace", page_size=size).page().jobs) == size

    @pytest.mark.parametrize("size", [-1, 0, 101])
    def test_a_tab_refuses_a_page_size_that_the_page_does_not_have(self, caller: JobClient, size: int):
        with pytest.raises(ValueError, match="not from 1 to 100"):
            tab(caller, "grace", page_size=size)

    @pytest.mark.parametrize(("size", "count"), [(0, 100), (101, 101)])
    def test_the_service_takes_sizes_that_the_page_does_not_have(self, caller: JobClient, size: int, count: int):
        assert len(caller.list_jobs(labels={"user": "grace"}, page_size=size).page().jobs) == count

    def test_the_service_refuses_a_page_size_below_0(self, caller: JobClient):
        with pytest.raises(InvalidFieldError) as refused:
            caller.list_jobs(labels={"user": "grace"}, page_size=-1).page()
        assert [violation.field for violation in refused.value.field_violations] == ["page_size"]

    def test_a_token_of_another_tab_is_refused(self, caller: JobClient):
        token = tab(caller, "grace", page_size=5).page().next_page_token
        with pytest.raises(PageTokenInvalidError):
            tab(caller, "edsger", page_token=token).page()
