"""A filter finds what each of its conditions does; what differs between two states of a job leads back to the first."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st
from jobledger_service.core.model.filters.filter import (
    FilterFields,
    JobFilter,
    LabelCondition,
    TimeRange,
    changed_fields,
)
from jobledger_service.core.model.filters.search import (
    MAX_WORD_LENGTH,
    MAX_WORDS,
    label_marks,
    match_prefixes,
    owner_mark,
    words,
)
from jobledger_service.core.model.states import JobState
from msgspec.structs import asdict, replace

times = st.integers(0, 5)
spans = st.builds(TimeRange, st.none() | times, st.none() | times)
labels = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"), max_size=2)
filter_fields = st.builds(
    FilterFields,
    owner=st.sampled_from(("me", "you")),
    job_id=st.just("j"),
    kind=st.sampled_from(("k", "l", "jobledger.bulk")),
    state=st.sampled_from(JobState),
    priority=st.integers(0, 10),
    display_name=st.sampled_from(("", "My Film", "ÉTÉ 2026", "映画")),
    unique_key=st.sampled_from(("", "once")),
    error=st.sampled_from(("", "disk full")),
    error_code=st.sampled_from(("", "DISK_FULL")),
    labels=labels,
    create_time=times,
    schedule_time=st.none() | times,
    start_time=st.none() | times,
    update_time=times,
    end_time=st.none() | times,
)
conditions: dict[str, st.SearchStrategy] = {
    "states": st.frozensets(st.sampled_from(JobState), min_size=1, max_size=3),
    "kinds": st.frozensets(st.sampled_from(("k", "l", "jobledger.bulk")), min_size=1),
    "min_priority": st.integers(0, 10),
    "max_priority": st.integers(0, 10),
    "create_time": spans,
    "update_time": spans,
    "end_time": spans,
    "start_time": spans,
    "schedule_time": spans,
    "labels": labels,
    "label_conditions": st.builds(LabelCondition, st.sampled_from("ab"), st.sampled_from(((), ("x",), ("x", "y")))).map(
        lambda one: (one,)
    ),
    "unique_key": st.just("once"),
    "error_code": st.just("DISK_FULL"),
    "search": st.sampled_from((("my",), ("my", "fi"), ("ete",), ("映",), ("disk", "k"), ("x",))),
}
filters = st.fixed_dictionaries({"owner": st.just("me")}, optional=conditions).map(lambda given: JobFilter(**given))


@given(filters, filter_fields)
def test_a_job_matches_when_it_matches_each_condition_alone(jobs: JobFilter, job: FilterFields):
    kinds = {"kinds": jobs.kinds, "include_service_jobs": jobs.include_service_jobs}
    alone = [JobFilter("me", **{name: getattr(jobs, name)}, **kinds) for name in conditions if name != "kinds"]
    assert jobs.matches(job) == all(one.matches(job) for one in alone)


@given(filters, filter_fields)
def test_a_condition_more_finds_no_job_more(jobs: JobFilter, job: FilterFields):
    if jobs.matches(job):
        assert job.owner == "me"
        assert JobFilter("me", kinds=jobs.kinds).matches(job)
        assert not replace(jobs, owner="you").matches(job)
        assert not replace(jobs, labels={**jobs.labels, "c": "z"}).matches(job)
        assert not replace(jobs, search=(*jobs.search, "nowhere")).matches(job)
        assert not replace(jobs, states=frozenset(JobState) - {job.state}).matches(job)


@given(filter_fields)
def test_the_services_own_jobs_are_found_when_they_are_meant(job: FilterFields):
    mine = replace(job, owner="me", kind="jobledger.bulk")
    assert not JobFilter("me").matches(mine)
    assert JobFilter("me", include_service_jobs=True).matches(mine)
    assert JobFilter("me", kinds=frozenset({"jobledger.bulk"})).matches(mine)


@given(filters, filters)
def test_filters_with_one_identity_are_equal_ones(one: JobFilter, other: JobFilter):
    assert hash(one.identity) == hash(replace(one).identity)
    assert (one.identity == other.identity) == (one == other)


@given(spans, st.none() | times)
def test_a_span_has_its_beginning_and_not_its_end(span: TimeRange, time: int | None):
    if span == TimeRange():
        assert span.holds(time)
    else:
        inside = range(0 if span.start is None else span.start, 9 if span.end is None else span.end)
        assert span.holds(time) == (time in inside)


@given(filter_fields, filter_fields)
def test_what_differs_leads_back_to_what_was_before(before: FilterFields, after: FilterFields):
    same = {name: getattr(after, name) for name in ("owner", "job_id", "kind", "unique_key", "create_time")}
    before = replace(before, **same)
    differs = changed_fields(before, after)
    assert FilterFields(**{**asdict(after), **differs}) == before
    assert (differs == {}) == (before == after)


@given(st.lists(st.text(), max_size=4))
def test_words_are_folded_once_and_for_all(texts: list[str]):
    found = words(*texts)
    assert len(set(found)) == len(found) <= MAX_WORDS
    assert all(0 < len(word) <= MAX_WORD_LENGTH for word in found)
    assert words(*found) == found, "a word is its own only word"
    assert match_prefixes(found, words(" ".join(texts)))
    assert set(words(*(text.upper() for text in found))) <= {
        word[:MAX_WORD_LENGTH] for word in words(*(text.upper() for text in found))
    }


@given(st.text(alphabet="abcé9 -_", max_size=30))
def test_a_search_does_not_see_case_accents_or_what_is_between_words(text: str):
    plain = text.replace("é", "e").replace("-", " ").replace("_", " ").lower().split()
    assert list(words(text)) == list(dict.fromkeys(plain))
    assert words(text.upper()) == words(text)
    for word in plain:
        assert match_prefixes([word[:1]], words(text))


@given(labels, st.text(max_size=8))
def test_marks_of_owners_and_labels_are_no_words(given_labels: Mapping[str, str], owner: str):
    marks = [owner_mark(owner), *label_marks(given_labels)]
    assert len(set(marks)) == len(marks)
    assert all(mark not in words(mark) for mark in marks)
    assert owner_mark(owner) != owner_mark(f"{owner}x")
    assert label_marks({"ab": "c"}) != label_marks({"a": "bc"})
