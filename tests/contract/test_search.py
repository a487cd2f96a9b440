"""Search: words are prefixes, all must match, case and accents do not count; a list and a watch agree on it."""

from jobledger.v1.filter_pb2 import JobFilter
from jobledger.v1.job_service_pb2 import WatchMessageType
from jobledger.v1.worker_service_pb2 import ChunkFailure, FailChunksRequest

from tests.support.api import Api, fresh_kind

NAMES = ["Holiday photos", "50% off", "ÄrgerÄ", "x'; DROP TABLE --", 'say "hi"', "日本語の本", "ﬁle_№7", "İstanbul", ""]


async def found(api: Api, kinds: list[str], search: str) -> set[str]:
    """Return the ids of the jobs of some kinds that a search finds in a list, and no other in a watch."""
    wanted = JobFilter(kinds=kinds, search=search)
    answer = await api.list_jobs(filter=wanted, page_size=500)
    assert (answer.total_size, answer.total_is_lower_bound) == (len(answer.jobs), False)
    watched = set()
    async with api.watch_jobs(filter=wanted) as stream:
        while (message := await stream.message()).type != WatchMessageType.WATCH_MESSAGE_TYPE_BOOKMARK:
            watched.add(message.job.job_id)
    assert watched == {job.job_id for job in answer.jobs}
    return watched


SEARCHES = [
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
]
"""What is searched for, and which of NAMES it finds."""
NOT_FOUND = ["oliday", "holidayx", "holiday sale", "hi OR say", "off*x", "§l0"]


async def test_a_search_finds_beginnings_of_words_without_case_and_accents_and_nothing_else(api: Api, kind: str):
    ids = [(await api.create(kind, display_name=name, labels={"a": "b"})).job_id for name in NAMES]
    for search, name in SEARCHES:
        assert await found(api, [kind], search) == {ids[name]}, search
    for search in NOT_FOUND:
        assert await found(api, [kind], search) == set(), search


async def test_kinds_label_values_and_errors_are_searched(api: Api):
    kinds = [f"{fresh_kind()}.zebra", f"{fresh_kind()}.zebu"]
    labelled = (await api.create(kinds[0], labels={"team": "Grün 7"})).job_id
    failed = (await api.create(kinds[1])).job_id
    [claimed] = await api.claim(kinds[1])
    error = {"code": "HALT", "message": "quagga overflow"}
    failure = ChunkFailure(lease_token=claimed.lease.token, error=error, not_retryable=True)
    await api.work.FailChunks(FailChunksRequest(failures=[failure]))
    assert await found(api, kinds, "zeb") == {labelled, failed}
    assert await found(api, kinds, "grun") == {labelled}
    assert await found(api, kinds, "team") == set()
    assert await found(api, kinds, "overflow") == {failed}
    await api.retry(failed)
    assert await found(api, kinds, "overflow") == set()


async def test_a_job_id_is_searched_and_of_a_uuid_its_beginning(api: Api, kind: str):
    made, named = (await api.create(kind)).job_id, f"nightly-{fresh_kind()}"
    await api.create(kind, job_id=named)
    for search in (made, made.upper(), made[:8], made.replace("-", "")[:20]):
        assert await found(api, [kind], search) == {made}
    assert await found(api, [kind], "night") == await found(api, [kind], named) == {named}
    for group in made.split("-")[1:]:
        assert await found(api, [kind], group) == set()


async def test_a_changed_name_is_found_under_its_new_words_only(api: Api, kind: str):
    job_id = (await api.create(kind, display_name="before")).job_id
    mask = {"paths": ["display_name"]}
    await api.update(job_id, update_mask=mask, display_name="after")
    assert await found(api, [kind], "before") == set()
    assert await found(api, [kind], "after") == {job_id}


async def test_a_deleted_job_is_not_found(api: Api, kind: str):
    job_id = (await api.create(kind, display_name="going")).job_id
    await api.delete(job_id, force=True)
    assert await found(api, [kind], "going") == set()
