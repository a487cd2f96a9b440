"""The requests about limits: what is refused by name, and pages of limits."""

import grpc
import pytest
from jobledger.v1.job_service_pb2 import (
    CreateJobRequest,
)
from jobledger.v1.limit_scope_pb2 import LimitScope
from jobledger.v1.limit_service_pb2 import ListLimitsRequest, SetLimitRequest
from jobledger.v1.limit_service_pb2_grpc import LimitServiceStub

from tests.support.api import Api
from tests.support.errors import invalid, refused
from tests.support.limits import (
    delete_limit,
    each_scope,
    kind_scope,
    label_scope,
    listed_limits,
    set_limit,
)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"limited_labels": ["gone"]}, "limited_labels[0]"),
        ({"labels": {"a": "", "b": ""}, "limited_labels": ["a", "b", "a"]}, "limited_labels[2]"),
        ({"labels": {c: c for c in "abcdefghi"}, "limited_labels": list("abcdefghi")}, "limited_labels"),
    ],
)
async def test_a_broken_limited_label_is_named(api: Api, kind: str, fields: dict[str, object], named: str):
    with invalid(named):
        await api.jobs.CreateJob(CreateJobRequest(kind=kind, **fields))


@pytest.mark.one_store("it is refused before the store is asked")
@pytest.mark.parametrize(
    ("scope", "named"),
    [
        (LimitScope(), "scope"),
        (kind_scope(""), "scope.kind"),
        (kind_scope("jobledger.bulk"), "scope.kind"),
        (kind_scope("No"), "scope.kind"),
        (label_scope("", "b"), "scope.label.name"),
        (label_scope("a b", "b"), "scope.label.name"),
        (label_scope("a", "x" * 256), "scope.label.value"),
        (each_scope("a=b"), "scope.each_value_of_label"),
    ],
)
async def test_a_broken_scope_is_named(api: Api, scope: LimitScope, named: str):
    with invalid(named):
        await set_limit(api, scope, 1)
    with invalid(named):
        await delete_limit(api, scope)


@pytest.mark.parametrize("limit", [-1, 1_000_001, None])
async def test_a_broken_number_is_named(api: Api, kind: str, limit: int | None):
    with invalid("max_running"):
        await LimitServiceStub(api.channel).SetLimit(SetLimitRequest(scope=kind_scope(kind), max_running=limit))


async def test_limits_are_listed_page_by_page(api: Api, kind: str):
    scopes = [each_scope(kind), kind_scope(kind), *(label_scope(kind, str(n)) for n in range(5))]
    for scope in reversed(scopes):
        await set_limit(api, scope, 1)
    await delete_limit(api, scopes[4])
    listed = [one.scope for one in await listed_limits(api, page_size=2)]
    assert [scope for scope in listed if scope in scopes] == [*scopes[:4], *scopes[5:]]
    with invalid("page_size"):
        await LimitServiceStub(api.channel).ListLimits(ListLimitsRequest(page_size=-1))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", "page_token"):
        await LimitServiceStub(api.channel).ListLimits(ListLimitsRequest(page_token="x"))
