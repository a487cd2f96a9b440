"""CreateJob refuses what breaks a rule, names the field, and writes nothing."""

import math
from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1.job_service_pb2 import CreateJobRequest

from tests.support.api import Api
from tests.support.errors import invalid

BIG = {"text": "x" * 65_536}  # just over 64 KiB once it is encoded

RULES = [
    ("request_id", {"request_id": "x" * 129}),
    ("job_id", {"job_id": "x" * 129}),
    ("job_id", {"job_id": "-begins-with-a-hyphen"}),
    ("job_id", {"job_id": "a space"}),
    ("job_id", {"job_id": "a/slash"}),
    ("job_id", {"job_id": "é"}),
    ("job_id", {"job_id": "ends-with-a-newline\n"}),
    ("kind", {"kind": ""}),
    ("kind", {"kind": "Crawl.images"}),
    ("kind", {"kind": "crawl..images"}),
    ("kind", {"kind": ".crawl"}),
    ("kind", {"kind": "crawl."}),
    ("kind", {"kind": "crawl images"}),
    ("kind", {"kind": "crawl\n"}),
    ("kind", {"kind": "k" * 129}),
    ("display_name", {"display_name": "x" * 1_025}),
    ("run_timeout", {"run_timeout": timedelta(seconds=1, microseconds=-1)}),
    ("run_timeout", {"run_timeout": timedelta(days=366, microseconds=1)}),
    ("run_timeout", {"run_timeout": Duration(seconds=1, nanos=-1)}),
    ("attempt_timeout", {"attempt_timeout": timedelta(0)}),
    ("attempt_timeout", {"attempt_timeout": timedelta(seconds=-5)}),
    ("attempt_timeout", {"attempt_timeout": Duration(seconds=2**63 - 1)}),
    ("priority", {"priority": -1}),
    ("priority", {"priority": 11}),
    ("input", {"input": BIG}),
    ("labels", {"labels": {f"name-{n}": "" for n in range(65)}}),
    ("item_count", {"item_count": 0}),
    ("item_count", {"item_count": -1}),
    ("item_count", {"item_count": 1_000_000_001, "chunk_size": 1_000_000}),
    ("chunk_size", {"item_count": 10, "chunk_size": 0}),
    ("chunk_size", {"item_count": 10, "chunk_size": -5}),
    ("chunk_size", {"item_count": 10, "chunk_size": 1_000_000_001}),
    ("chunk_size", {"chunk_size": 10}),
    ("item_count", {"item_count": 10, "chunks": [{}]}),
    ("chunks", {"chunks": [{}] * 10_001}),
    ("chunks[1].item_count", {"chunks": [{}, {"item_count": 0}]}),
    ("chunks[0].item_count", {"chunks": [{"item_count": 1_000_000_001}]}),
    ("chunks[2].input", {"chunks": [{}, {}, {"input": BIG}]}),
    ("retry_policy.max_attempts", {"retry_policy": {"max_attempts": 0}}),
    ("retry_policy.max_attempts", {"retry_policy": {"max_attempts": 101}}),
    ("retry_policy.initial_backoff", {"retry_policy": {"initial_backoff": timedelta(seconds=-1)}}),
    ("retry_policy.initial_backoff", {"retry_policy": {"initial_backoff": timedelta(hours=24, seconds=1)}}),
    ("retry_policy.initial_backoff", {"retry_policy": {"initial_backoff": Duration(seconds=1, nanos=-1)}}),
    ("retry_policy.multiplier", {"retry_policy": {"multiplier": 0.99}}),
    ("retry_policy.multiplier", {"retry_policy": {"multiplier": 10.01}}),
    ("retry_policy.multiplier", {"retry_policy": {"multiplier": math.nan}}),
    ("retry_policy.max_backoff", {"retry_policy": {"max_backoff": timedelta(hours=25)}}),
    (
        "retry_policy.max_backoff",
        {"retry_policy": {"initial_backoff": timedelta(seconds=10), "max_backoff": timedelta(seconds=9)}},
    ),
    ("retry_policy.jitter", {"retry_policy": {"jitter": -0.1}}),
    ("retry_policy.jitter", {"retry_policy": {"jitter": 1.1}}),
    ("retry_policy.jitter", {"retry_policy": {"jitter": math.nan}}),
    ("failure_policy", {"failure_policy": 99}),
    ("stages", {"stages": [{"name": f"stage-{n}"} for n in range(101)]}),
    ("stages[0].name", {"stages": [{"name": ""}]}),
    ("stages[0].name", {"stages": [{"name": "x" * 129}]}),
    ("stages[1].name", {"stages": [{"name": "twice"}, {"name": "twice"}]}),
    ("stages[0].weight", {"stages": [{"name": "a", "weight": 0}]}),
    ("stages[1].weight", {"stages": [{"name": "a"}, {"name": "b", "weight": -1}]}),
    ("stages[0].weight", {"stages": [{"name": "a", "weight": 1_000_001}]}),
    ("stages[0].weight", {"stages": [{"name": "a", "weight": math.inf}]}),
    ("stages[0].weight", {"stages": [{"name": "a", "weight": math.nan}]}),
    ("expire_time", {"expire_time": Timestamp(seconds=1, nanos=-1)}),
    ("expire_time", {"expire_time": Timestamp(seconds=10**15)}),
]


@pytest.mark.one_store("it is refused before the store is asked")
@pytest.mark.parametrize(("field", "broken"), RULES, ids=[f"{n:02}-{rule[0]}" for n, rule in enumerate(RULES)])
async def test_a_broken_rule_is_named_and_nothing_is_written(
    api: Api, kind: str, field: str, broken: dict[str, object]
):
    with invalid(field):
        await api.jobs.CreateJob(CreateJobRequest(**({"kind": kind} | broken)))
    assert not (await api.list_jobs(filter={"kinds": [kind]})).jobs


@pytest.mark.one_store("it is refused before the store is asked")
@pytest.mark.parametrize(
    "labels",
    [
        {"": "x"},
        {"a space": "x"},
        {"n" * 64: "x"},
        {"ünicode": "x"},
        {"name": "v" * 256},
        {"name\n": "x"},
        {"jobledger.x": "y"},
    ],
)
async def test_a_label_that_breaks_a_rule_is_refused_under_labels(api: Api, kind: str, labels: dict[str, str]):
    [name] = labels
    with invalid(f'labels["{name}"]'):
        await api.create(kind, labels=labels)


async def test_more_than_ten_thousand_chunks_by_size_are_refused(api: Api, kind: str):
    with invalid("chunk_size"):
        await api.create(kind, item_count=10_001, chunk_size=1)


async def test_every_broken_rule_is_named_at_once(api: Api):
    with invalid("kind", "priority", "chunk_size", "stages[0].name"):
        await api.create("Not A Kind", priority=-7, item_count=5, chunk_size=0, stages=[{}])


async def test_the_largest_that_the_rules_allow_is_taken(api: Api, kind: str):
    labels = {f"{n:02}".ljust(63, "n"): "v" * 255 for n in range(64)}
    job = await api.create(
        kind.ljust(128, "k"),
        display_name="📷" * 1_024,
        priority=10,
        labels=labels,
        input={"text": "x" * 65_500},
        stages=[{"name": f"{n:03}".ljust(128, "s"), "weight": 1_000_000} for n in range(100)],
        retry_policy={"max_attempts": 100, "multiplier": 10, "jitter": 1, "max_backoff": timedelta(hours=24)},
        chunks=[{"input": {"text": "y" * 65_500}}, {"item_count": 999_999_999}],
    )
    job = await api.get(job.job_id)
    assert dict(job.labels) == labels
    assert job.display_name == "📷" * 1_024
    assert len(job.stages) == 100
    assert job.progress.items_total == 1_000_000_000
