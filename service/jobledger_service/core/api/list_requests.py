"""Requests for several jobs or chunks: filters, orders, pages."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, cast

from jobledger.v1 import filter_pb2, job_pb2
from jobledger.v1 import job_service_pb2 as api

from jobledger_service.core.database.rows.reads import AttemptPlace, AttemptsWanted, Listing, Order, View
from jobledger_service.core.model.bounds import limits
from jobledger_service.core.model.durations import time_text
from jobledger_service.core.model.filters.filter import ANY_TIME, JobFilter, LabelCondition, TimeRange
from jobledger_service.core.model.filters.search import MAX_SEARCH, MAX_SEARCH_WORDS, words
from jobledger_service.core.model.job import job_key
from jobledger_service.core.model.refusals.errors import InvalidField
from jobledger_service.core.model.states import ChunkState
from jobledger_service.transport.identity import Caller

from .checks import LABEL, LABEL_FORM, Checks, must_be_one_of, shown
from .convert import CHUNK_STATES_BY_NUMBER, JOB_STATES_BY_NUMBER
from .owners import owner_of

_VIEWS: Final = {job_pb2.JobView.Value(f"JOB_VIEW_{view}"): view for view in View}


def view(given: int, *, absent: View) -> View:
    """Return the view of a request; `absent` is the meaning of UNSPECIFIED."""
    if given == job_pb2.JOB_VIEW_UNSPECIFIED:
        return absent
    found = _VIEWS.get(cast("job_pb2.JobView.ValueType", given))
    if found is None:
        raise InvalidField(("view", must_be_one_of(given, View)))
    return found


_ORDERS: Final = {
    api.JOB_ORDER_UNSPECIFIED: Order.CREATE_TIME,
    api.JOB_ORDER_CREATE_TIME: Order.CREATE_TIME,
    api.JOB_ORDER_UPDATE_TIME: Order.UPDATE_TIME,
    api.JOB_ORDER_END_TIME: Order.END_TIME,
    api.JOB_ORDER_PRIORITY: Order.PRIORITY,
}
MAX_LABEL_CONDITIONS: Final = 16
MAX_LABEL_VALUES: Final = 100
"""The values of all conditions on labels together: each is put to each row."""
_VALUES_OF: Final = {
    filter_pb2.LABEL_OPERATOR_EQ: (1, 1),
    filter_pb2.LABEL_OPERATOR_IN: (1, MAX_LABEL_VALUES),
    filter_pb2.LABEL_OPERATOR_EXISTS: (0, 0),
}
"""The minimum and the maximum of values that an operator takes."""
MAX_KNOWN_BYTES: Final = 512
"""Bytes of a request whose query is remembered."""
_WITHOUT_TASKS: Final = ("WatchJobs", "ExportJobs")
"""Methods that show jobs as they were at a position, which says nothing of their tasks."""


def known_listing(request: api.ListJobsRequest, content: bytes, caller: Caller) -> Listing:
    """Return the query of ListJobs, whose encoded request is `content`: a small one is often asked again."""
    return _listing(content, caller) if len(content) <= MAX_KNOWN_BYTES else listing(request, caller)


@lru_cache(maxsize=256)
def _listing(content: bytes, caller: Caller) -> Listing:
    return listing(api.ListJobsRequest.FromString(content), caller)


def listing(request: api.ListJobsRequest, caller: Caller) -> Listing:
    """Return the query of ListJobs."""
    with Checks() as checks:
        wanted = filter_of(checks, request, caller)
        limit = page_size(checks, request.page_size, default=20, max_size=500)
        order = _ORDERS.get(request.order)
        if order is None:
            checks.one_of("order", request.order, Order.__members__)
    shown = view(request.view, absent=View.BASIC)
    return Listing(wanted, order or Order.CREATE_TIME, request.ascending, limit=limit, view=shown)


def page_size(checks: Checks, given: int, *, default: int, max_size: int) -> int:
    """Return the page size; a larger one than the maximum is the maximum."""
    checks.at_least("page_size", given, 0)
    return min(given, max_size) or default


def checked_page_size(given: int, *, default: int, max_size: int) -> int:
    """Return the page size of a request without other checks."""
    with Checks() as checks:
        return page_size(checks, given, default=default, max_size=max_size)


def job_filter(request: api.WatchJobsRequest, caller: Caller) -> JobFilter:
    """Return the filter of WatchJobs."""
    with Checks() as checks:
        return filter_of(checks, request, caller)


def filter_of(checks: Checks, request: Any, caller: Caller) -> JobFilter:  # noqa: ANN401  any with a filter
    """Return the filter of a request; raises RoleMissing for an owner whom the caller may not name."""
    given: filter_pb2.JobFilter = request.filter
    method = request.DESCRIPTOR.name.removesuffix("Request")
    checks.kinds("filter.kinds", given.kinds)
    low, high = _priorities(checks, given)
    checks.at_most("filter.search", given.search, MAX_SEARCH)
    searched = words(given.search[:MAX_SEARCH])
    checks.count("filter.search", len(searched), MAX_SEARCH_WORDS)
    if given.search and not searched:
        checks.fault("filter.search", f"value {shown(given.search)} must contain a letter or a digit")
    checks.job_ids("filter.job_ids", given.job_ids, limits.MAX_FILTER_JOB_IDS)
    checks.unique_key("filter.unique_key", given.unique_key)
    checks.at_most("filter.error_code", given.error_code, 128)
    checks.at_most("filter.task_id", given.task_id, limits.MAX_TASK_ID)
    if given.task_id and method in _WITHOUT_TASKS:
        checks.fault("filter.task_id", f"must be empty in {method}; find the jobs with ListJobs")
    owner = owner_of(checks, request, caller)
    if given.all_owners and method != "WatchJobs":
        checks.fault("filter.all_owners", f"must be false in {method}; name an owner")
    return JobFilter(
        owner=owner,
        states=frozenset(checks.numbers("filter.states", given.states, JOB_STATES_BY_NUMBER)),
        kinds=frozenset(given.kinds),
        min_priority=low,
        max_priority=high,
        create_time=time_range(checks, "filter.create_time", given.create_time),
        update_time=time_range(checks, "filter.update_time", given.update_time),
        end_time=time_range(checks, "filter.end_time", given.end_time),
        labels=labels(checks, "filter.labels", given.labels),
        search=searched,
        include_service_jobs=given.include_service_jobs,
        task_id=given.task_id,
        job_ids=frozenset(given.job_ids),
        all_owners=given.all_owners,
        unique_key=given.unique_key,
        error_code=given.error_code,
        start_time=time_range(checks, "filter.start_time", given.start_time),
        schedule_time=time_range(checks, "filter.schedule_time", given.schedule_time),
        label_conditions=_label_conditions(checks, given.label_conditions),
    )


def _priorities(checks: Checks, given: filter_pb2.JobFilter) -> tuple[int, int]:
    low = given.min_priority if given.HasField("min_priority") else limits.MIN_PRIORITY
    high = given.max_priority if given.HasField("max_priority") else limits.MAX_PRIORITY
    checks.within("filter.min_priority", low, limits.MIN_PRIORITY, limits.MAX_PRIORITY)
    checks.within("filter.max_priority", high, limits.MIN_PRIORITY, limits.MAX_PRIORITY)
    if limits.MIN_PRIORITY <= high < low <= limits.MAX_PRIORITY:
        checks.fault("filter.max_priority", f"value {high} must be at least min_priority, {low}")
    return low, high


def _label_conditions(checks: Checks, given: Sequence[filter_pb2.LabelCondition]) -> tuple[LabelCondition, ...]:
    field = "filter.label_conditions"
    checks.count(field, len(given), MAX_LABEL_CONDITIONS)
    checks.count(f"{field}.values", sum(len(one.values) for one in given), MAX_LABEL_VALUES)
    for index, one in enumerate(given):
        place = f"{field}[{index}]"
        checks.form(f"{place}.name", one.name, LABEL, LABEL_FORM)
        if one.operator not in _VALUES_OF:
            checks.one_of(f"{place}.operator", one.operator, ("EQ", "IN", "EXISTS"))
            continue
        low, high = _VALUES_OF[one.operator]
        checks.count(f"{place}.values", len(one.values), high, low)
        for value in one.values:
            checks.at_most(f"{place}.values", value, 255)
    return tuple(LabelCondition(one.name, tuple(sorted(set(one.values)))) for one in given)


def attempts(request: api.ListAttemptsRequest, caller: Caller) -> AttemptsWanted:
    """Return the query of ListAttempts."""
    with Checks() as checks:
        owner = owner_of(checks, request, caller)
        checks.job_id("job_id", request.job_id)
        limit = page_size(checks, request.page_size, default=100, max_size=1_000)
        index = request.chunk_index if request.HasField("chunk_index") else None
        checks.at_least("chunk_index", index or 0, 0)
        checks.at_most("task_id", request.task_id, limits.MAX_TASK_ID)
    key = job_key(owner, request.job_id)
    return AttemptsWanted(key, index, request.task_id, AttemptPlace(-1, 0), limit)


def chunk_states(request: api.ListChunksRequest) -> frozenset[ChunkState]:
    """Return the states of ListChunks."""
    with Checks() as checks:
        return frozenset(checks.numbers("states", request.states, CHUNK_STATES_BY_NUMBER))


def time_range(checks: Checks, field: str, span: filter_pb2.TimeRange) -> TimeRange:
    """Return a span of time."""
    start = checks.time(f"{field}.start_time", span.start_time) if span.HasField("start_time") else None
    end = checks.time(f"{field}.end_time", span.end_time) if span.HasField("end_time") else None
    if start is not None and end is not None and end <= start:
        checks.fault(field, f"end_time {time_text(end)} must be after start_time, {time_text(start)}")
    return TimeRange(start, end) if (start, end) != (None, None) else ANY_TIME


def labels(checks: Checks, field: str, given: Any) -> dict[str, str]:  # noqa: ANN401  a generated map
    """Return checked labels."""
    checks.count(field, len(given), limits.MAX_LABELS)
    found = dict(given)
    for name, value in found.items():
        place = f'{field}["{name}"]'
        checks.form(place, name, LABEL, LABEL_FORM)
        checks.at_most(place, value, 255)
    return found
