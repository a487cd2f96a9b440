"""Search: words are prefixes, all must match, case and accents do not count; a list and a watch agree on it."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jobledger.v1.filter_pb2 import JobFilter
from jobledger.v1.job_service_pb2 import ListJobsRequest, RetryJobRequest, UpdateJobRequest, WatchMessageType
from jobledger_service.domain.search import MOST_SEARCHED, words

from tests.support.api import Api, fresh_kind
from tests.support.states import FAILED

NAMES = ["Holiday photos", "50% off", "ÄrgerÄ", "x'; DROP TABLE jobs --", 'say "hi"', "日本語の本", "ﬁle_№7", "İstanbul", ""]


async def found(api: Api, kind: str, search: str) -> set[str]:
    """Return the ids of the jobs of a kind that a search finds."""
    answer = await api.jobs.ListJobs(ListJobsRequest(filter=JobFilter(kinds=[kind], search=search), page_size=500))
    assert (answer.total_size, answer.total_is_lower_bound) == (len(answer.jobs), False)
    return {job.job_id for job in answer.jobs}


async def watched(api: Api, kind: str, search: str) -> set[str]:
    """Return the ids of the jobs of a kind that a watch from now shows."""
    stream = api.watch_jobs(filter=JobFilter(kinds=[kind], search=search))
    ids = set()
    async for message in stream:
        if message.type == WatchMessageType.WATCH_MESSAGE_TYPE_BOOKMARK:
            break
        ids.add(message.job.job_id)
    stream.cancel()
    return ids


@pytest.mark.parametrize(
    ("search", "name"),
    [
        ("HOLIDAY", 0),
        ("pho hol", 0),
        ("holiday-photos!", 0),
        ("50", 1),
        ("arger", 2),
        ("ÄRGERÄ", 2),
        ("drop table", 3),
        ('"hi', 4),
        ("本 日", 5),
        ("file", 6),
        ("no7", 6),
        ("istan", 7),
    ],
)
async def test_a_search_finds_beginnings_of_words_without_case_and_accents(
    api: Api, kind: str, search: str, name: int
):
    ids = [(await api.create(kind, display_name=one)).job_id for one in NAMES]
    assert await found(api, kind, search) == {ids[name]}


@pytest.mark.parametrize("search", ["oliday", "holidayx", "holiday sale", "hi OR say", "off*x", "§", "§o"])
async def test_a_search_finds_nothing_else(api: Api, kind: str, search: str):
    for name in NAMES:
        await api.create(kind, display_name=name)
    if words(search):
        assert await found(api, kind, search) == set()
    assert await found(api, kind, f"{search} {NAMES[0]} x") == set()


async def test_kinds_label_values_and_errors_are_searched(api: Api):
    kind = f"{fresh_kind()}.zebra"
    labelled = await api.create(kind, labels={"team": "Grün 7"})
    failed = await api.job_in(FAILED, kind)
    assert await found(api, kind, "zeb") == {labelled.job_id, failed.job_id}
    assert await found(api, kind, "grun") == {labelled.job_id}
    assert await found(api, kind, "team") == set()
    error = (await api.get(failed.job_id)).error.message
    assert error
    assert await found(api, kind, error) == {failed.job_id}
    await api.jobs.RetryJob(RetryJobRequest(job_id=failed.job_id))
    assert await found(api, kind, error) == set()


async def test_a_changed_name_is_found_under_its_new_words_only(api: Api, kind: str):
    job_id = (await api.create(kind, display_name="before")).job_id
    mask = {"paths": ["display_name"]}
    await api.jobs.UpdateJob(UpdateJobRequest(job_id=job_id, update_mask=mask, display_name="after"))
    assert await found(api, kind, "before") == set()
    assert await found(api, kind, "after") == {job_id}


async def test_a_deleted_job_is_not_found(api: Api, kind: str):
    job_id = (await api.create(kind, display_name="going")).job_id
    await api.delete(job_id, force=True)
    assert await found(api, kind, "going") == set()


NASTY = st.text(st.sampled_from("aÀàßſİıǅﬃŉ०1²٣日ー゛한ก็e\u0301\u200d_-§*\"'\\&|!:() 😀xyz"), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(NASTY | st.text(max_size=30), min_size=1, max_size=5), search=NASTY)
async def test_a_list_and_a_watch_find_the_same_whatever_the_text(api: Api, names: list[str], search: str):
    names = [name.replace("\0", "") for name in names]
    kind = fresh_kind()
    ids = {(await api.create(kind, display_name=name)).job_id: name for name in names}
    for text in {search, *(name[:20] for name in names)}:
        if not words(text) or len(words(text)) > MOST_SEARCHED:
            continue
        expected = {
            job_id
            for job_id, name in ids.items()
            if all(any(word.startswith(part) for word in words(name, kind)) for part in words(text))
        }
        assert await found(api, kind, text) == expected
        assert await watched(api, kind, text) == expected
