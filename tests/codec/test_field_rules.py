"""A request that breaks rules is refused with each field, the value, and the rule that it must keep."""

import math
import re
from collections.abc import Callable
from uuid import UUID

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from jobledger.v1 import admin_service_pb2, limit_service_pb2, webhook_service_pb2, worker_service_pb2
from jobledger.v1 import job_service_pb2 as api
from jobledger_service.core.api import job_requests, list_requests, worker_requests
from jobledger_service.core.api.checks import Checks
from jobledger_service.core.api.event_requests import watch_options
from jobledger_service.core.model.refusals.errors import InvalidField
from jobledger_service.features.access import api as access_requests
from jobledger_service.features.limits import api as limit_requests
from jobledger_service.features.usage import api as usage_requests
from jobledger_service.features.webhooks import requests as webhook_requests
from jobledger_service.transport.identity import Caller, Role

ALICE = Caller("alice", "a/1", "1", frozenset({Role.CALLER}))
SENTENCE = re.compile(r"value .+ must |must |is required", re.DOTALL)

Read = Callable[[], object]


def created(**fields: object) -> Read:
    return lambda: job_requests.create_job(
        api.CreateJobRequest(**{"kind": "k"} | fields), ALICE, lambda: str(UUID(int=1))
    )


def listed(**fields: object) -> Read:
    return lambda: list_requests.listing(api.ListJobsRequest(**fields), ALICE)


def claimed(**fields: object) -> Read:
    return lambda: worker_requests.claim_chunks(
        worker_service_pb2.ClaimChunksRequest(**{"kinds": ["k"], "worker": "w"} | fields), ALICE
    )


def updated(*paths: str) -> Read:
    return lambda: job_requests.update_job(api.UpdateJobRequest(job_id="j", update_mask={"paths": paths}), ALICE)


def keyed(**fields: object) -> Read:
    request = admin_service_pb2.CreateApiKeyRequest(**{"name": "ci", "roles": [1]} | fields)
    return lambda: access_requests.new_key(request, ALICE, now=1_000_000)


def hooked(url: str, **fields: object) -> Read:
    request = webhook_service_pb2.CreateWebhookRequest(url=url, **fields)
    return lambda: webhook_requests.create_webhook(request, allow_http=False)


def limited(scope: dict[str, str]) -> Read:
    request = limit_service_pb2.SetLimitRequest(scope=scope, max_running=1)
    return lambda: limit_requests.set_limit(request, ALICE)


BROKEN: dict[str, tuple[Read, str]] = {
    "kind": (created(kind="No Kind"), "value 'No Kind' must be lower-case words"),
    "priority": (created(priority=11), "value 11 must be from 0 to 10"),
    "job_id": (created(job_id="-"), "value '-' must be 1 to 128 characters"),
    "display_name": (created(display_name="x" * 1_025), "must have at most 1024 characters; got 1025"),
    "request_id": (created(request_id="a\0"), "must not contain a NUL character"),
    "chunk_size": (created(item_count=1_000_000_000, chunk_size=1), "value 1 must be at least "),
    "stages[1].name": (created(stages=[{"name": "a"}] * 2), "value 'a' must be unique in the plan"),
    "stages[0].weight": (created(stages=[{"name": "a", "weight": 0}]), "value 0 must be above 0"),
    "failure_policy": (created(failure_policy=9), "value 9 must be one of RUN_ALL, FAIL_FAST"),
    "limited_labels[0]": (created(limited_labels=["no"]), "value 'no' must be one of the job's labels"),
    "input.x": (created(input={"x": math.nan}), "value nan must be a finite number"),
    "expire_time": (created(expire_time=Timestamp(seconds=1 << 50)), "must be from 0001-01-01T00:00:00Z to 9999-"),
    "retry_policy.max_backoff": (
        created(retry_policy={"max_backoff": Duration(seconds=-1)}),
        "value -1 s must be from 1 s to 86400 s",
    ),
    "retry_policy.initial_backoff": (
        created(retry_policy={"initial_backoff": Duration(seconds=1, nanos=-1)}),
        "value of 1 s and -1 ns must be a valid Duration",
    ),
    "order": (listed(order=9), "value 9 must be one of CREATE_TIME_DESC, CREATE_TIME_ASC, UPDATE_TIME_DESC"),
    "page_size": (listed(page_size=-1), "value -1 must be at least 0"),
    "filter.states[0]": (listed(filter={"states": [77]}), "value 77 must be one of QUEUED, RUNNING"),
    "filter.max_priority": (listed(filter={"min_priority": 5, "max_priority": 4}), "value 4 must be at least min_"),
    "filter.search": (listed(filter={"search": "…"}), "value '…' must contain a letter or a digit"),
    "view": (lambda: list_requests.view(9), "value 9 must be one of STATUS, BASIC, DETAIL, FULL"),
    "mode": (lambda: watch_options(api.WatchJobRequest(mode=9)), "value 9 must be one of LATEST, EVERY"),
    "kinds[0]": (claimed(kinds=["jobledger.bulk"]), "value 'jobledger.bulk' must not begin with 'jobledger.'"),
    "worker": (claimed(worker=""), "is required"),
    "max_chunks": (claimed(max_chunks=1_001), "value 1001 must be from 0 to 1000"),
    "update_mask": (updated("state"), "value 'state' must be one of priority, display_name, labels, expire_time"),
    "name": (keyed(name="a/b"), "value 'a/b' must not contain /"),
    "roles[0]": (keyed(roles=[9]), "value 9 must be one of CALLER, WORKER, ADMIN"),
    "url": (hooked("ftp://example.org/"), "value 'ftp://example.org/' must be a URL with the scheme https"),
    "event_types[0]": (hooked("https://example.org/", event_types=[99]), "value 99 must be one of JOB_CREATED, "),
    "scope": (limited({}), "is required: set kind, label or each_value_of_label"),
    "group_by[0]": (
        lambda: usage_requests.query_of(admin_service_pb2.GetUsageRequest(group_by=[9]), ""),
        "value 9 must be DAY, OWNER, KEY or METHOD",
    ),
}


@pytest.mark.parametrize("field", BROKEN)
def test_a_broken_rule_is_refused_with_its_field_its_value_and_the_rule(field: str):
    read, rule = BROKEN[field]
    with pytest.raises(InvalidField) as caught:
        read()
    [(path, sentence)] = caught.value.violations
    assert path == field
    assert rule in sentence
    assert SENTENCE.match(sentence), "it says what must be, not what is not"
    assert str(caught.value) == f"{field}: {sentence}"


def test_all_broken_rules_are_refused_together_and_the_first_three_are_in_the_message():
    with pytest.raises(InvalidField) as caught:
        created(kind="", priority=-1, job_id="?", display_name="\0")()
    assert [field for field, _ in caught.value.violations] == ["job_id", "kind", "display_name", "priority"]
    assert str(caught.value).endswith("; and 1 more")


def test_what_keeps_every_rule_is_read():
    command = created(item_count=25, chunk_size=10, labels={"a": "b"}, request_id="r")()
    assert (command.new.sizes, command.new.labels, command.request_id) == ([10, 10, 5], {"a": "b"}, "r")


@pytest.mark.parametrize("uri", ["s3://b/k", "https://example.org/x", "gs://b/", "r2://b/k"])
def test_a_uri_with_an_allowed_scheme_and_a_host_is_allowed(uri: str):
    checks = Checks()
    checks.uri("uri", uri)
    checks.done()


@pytest.mark.parametrize(
    ("uri", "rule"),
    [
        ("", "is required"),
        ("/srv/x", "value '/srv/x' must be a URI with an allowed scheme: abfs, "),
        ("file:///etc/passwd", "must be a URI with an allowed scheme"),
        ("http://[", "value 'http://[' must be a URI"),
        ("s3:///k", "must be a URI with a host or bucket and without spaces"),
        ("https://example.org/a b", "must be a URI with a host or bucket and without spaces"),
        ("s3://" + "x" * 2_048, "must have at most 2048 characters; got 2053"),
    ],
)
def test_a_local_path_and_what_has_several_readings_is_no_uri(uri: str, rule: str):
    checks = Checks()
    checks.uri("uri", uri)
    [(_, sentence)] = checks.violations
    assert rule in sentence
