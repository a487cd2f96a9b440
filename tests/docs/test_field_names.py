"""One spelling for one thing in the whole contract: times, lengths, counts, tokens, pages and switches."""

import re
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

import jobledger.v1
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from tests.support.comments import comments

pytestmark = pytest.mark.one_store("the contract has no store")

FIGURES = {
    "ChunkActivity", "ChunkProgress", "ChunksSummary", "CommitterHealth", "DurationStats", "FeedHealth",
    "ImportJobsResponse", "JobActivity", "JobCounts", "Limit", "Progress", "ProgressReport", "SystemHealth", "Usage",
    "WebhookHealth",
}  # fmt: skip
"""Messages that are nothing but figures of one thing: each number in them counts what its name says."""
LENGTHS = {"age", "backoff", "delay", "duration", "latency", "period", "timeout", "wait", "window"}
NUMBERS = {
    "attempt",
    "bytes",
    "code",
    "count",
    "index",
    "indexes",
    "item",
    "number",
    "percents",
    "place",
    "position",
    "positions",
    "priority",
    "revision",
    "size",
}
"""The last words of the names of integers; one that begins with max_ is a bound on what its name says."""
SECRETS = {"CreateApiKeyResponse.token", "Lease.token", "RotateApiKeyResponse.token"}
"""The tokens of what their messages are about; elsewhere a token's name says of what it is."""


def messages() -> Iterator[Descriptor]:
    """Yield each message of the contract."""
    for module in iter_modules(jobledger.v1.__path__, "jobledger.v1."):
        if module.name.endswith("_pb2"):
            for message in import_module(module.name).DESCRIPTOR.message_types_by_name.values():
                yield message
                yield from (one for one in message.nested_types if not one.GetOptions().map_entry)


FIELDS = {f"{one.containing_type.name}.{one.name}": one for message in messages() for one in message.fields}


def named(*types: int) -> dict[str, str]:
    """Return the fields of some types, by message and name, with the last word of the name."""
    return {path: one.name.rpartition("_")[2] for path, one in FIELDS.items() if one.type in types}


def of_message(type_: str) -> dict[str, str]:
    """Return the fields of a message's type, as `named` does."""
    found = {path for path, one in FIELDS.items() if one.message_type and one.message_type.full_name == type_}
    return {path: last for path, last in named(FieldDescriptor.TYPE_MESSAGE).items() if path in found}


INTEGERS = named(FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64)


def test_a_time_is_a_timestamp_and_called_time():
    times = of_message("google.protobuf.Timestamp")
    assert {path for path, last in times.items() if last != "time"} == {"Progress.eta"}
    of_other_types = {path for path in FIELDS.keys() - times.keys() if path.endswith("_time")}
    assert {FIELDS[path].message_type.name for path in of_other_types} == {"TimeRange"}
    assert not [path for path in FIELDS if re.search(r"(_at|_day|_date|not_before|until)$", path)]


def test_a_length_of_time_is_a_duration_and_a_figure_of_many_is_seconds():
    assert set(of_message("google.protobuf.Duration").values()) <= LENGTHS
    seconds = {path for path in FIELDS if re.search(r"_(seconds|millis|ms|minutes|hours|days)$", path)}
    assert {path.partition(".")[0] for path in seconds} == {"DurationStats"}
    per_second = {path for path in FIELDS if path.endswith("_per_second")}
    assert {path for path, one in FIELDS.items() if "second" in one.name} == seconds | per_second


def test_an_integer_says_what_it_is():
    others = {path for path, last in INTEGERS.items() if last not in NUMBERS and ".max_" not in path}
    assert {path for path in others if path.partition(".")[0] not in FIGURES} == set()


def test_a_number_is_never_called_as_a_list_of_things_is():
    lists = {one.name for one in FIELDS.values() if one.is_repeated and one.message_type}
    assert {path for path in INTEGERS if FIELDS[path].name in lists} == set()


def test_a_token_says_of_what_it_is():
    tokens = {
        path for path, last in named(FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES).items() if last == "token"
    }
    assert {FIELDS[path].name for path in tokens - SECRETS} == {
        "lease_token",
        "next_chunks_page_token",
        "next_page_token",
        "page_token",
        "resume_token",
    }
    cursors = {path for path in FIELDS if "cursor" in path}
    assert {(FIELDS[path].name, FIELDS[path].type) for path in cursors} == {("cursor", FieldDescriptor.TYPE_BYTES)}


def test_cursors_are_bytes_and_tokens_and_etags_are_strings():
    types = {path: one.type for path, one in FIELDS.items() if re.search(r"(token|etag|resume)$", path)}
    assert {"Job.etag", "Lease.token", "ListJobsRequest.page_token", "ExportJobsResponse.resume_token"} <= types.keys()
    assert set(types.values()) == {FieldDescriptor.TYPE_STRING}
    assert set(named(FieldDescriptor.TYPE_BYTES).values()) == {"cursor", "data"}


def test_an_order_is_an_enum_with_directions_whose_zero_is_the_first():
    said = comments()
    orders = {path: one.enum_type for path, one in FIELDS.items() if one.enum_type and one.name == "order"}
    assert {path.partition(".")[0] for path in orders} == {"ListJobsRequest", "ListEventsRequest"}
    assert not [
        path for path in FIELDS if re.search(r"\.(.*_)?(ascending|descending|newest|oldest|first|reverse)$", path)
    ]
    for path, order in orders.items():
        zero, default, *others = (value.name for value in order.values)
        assert all(name.endswith(("_ASC", "_DESC")) for name in (default, *others)), path
        assert said[f"jobledger.v1.{zero}"].startswith(f"{zero} is {default.removeprefix(zero[:-11])}"), path
        assert f"UNSPECIFIED: {default.removeprefix(zero[:-11])}, " in said[f"jobledger.v1.{path}"]


def layout(name: str) -> list[tuple[object, ...]]:
    """Return the fields of a message as they are sent, with what each of them says."""
    said = comments()
    return [
        (one.number, one.name, one.type, one.is_repeated, one.message_type, said[one.full_name])
        for path, one in FIELDS.items()
        if path.startswith(f"{name}.")
    ]


def test_the_answers_of_the_runs_over_many_jobs_are_one_message():
    first, *others = (layout(f"{verb}JobsResponse") for verb in ("Cancel", "Retry", "Update", "Delete"))
    assert len(first) == 4
    assert others == [first] * 3


def test_a_message_of_a_watch_is_the_same_for_one_job_and_for_many():
    of_one, of_many = ({one[:5] for one in layout(f"{name}Response")} for name in ("WatchJob", "WatchJobs"))
    assert len(of_one) == 8
    assert of_one < of_many
    assert {name for _, name, *_ in of_many - of_one} == {"unreadable_job_ids", "following"}


def test_all_pages_are_asked_for_alike():
    said = comments()
    for message in messages():
        fields = message.fields_by_name
        assert ("page_token" in fields) == ("page_size" in fields), message.full_name
        if "page_token" in fields:
            assert said[fields["page_token"].full_name] == (
                "page_token is `next_page_token` of the page before, with everything but page_size unchanged."
                " Empty: the first page."
            )
            assert re.match(
                r"page_size is how many .+ to return, 0 to (\S+); more is taken as \1\. .*0: 100\.$",
                said[fields["page_size"].full_name],
            ), message.full_name
        if "next_page_token" in fields:
            assert said[fields["next_page_token"].full_name] == (
                "next_page_token leads to the next page. Empty: this was the last."
            ), message.full_name


def test_a_switch_of_more_than_two_positions_is_a_state():
    switches = {FIELDS[path].name for path in named(FieldDescriptor.TYPE_BOOL)}
    assert not [name for name in switches if re.search(r"^(is|has)_|disabled|enabled|paused|active", name)]
