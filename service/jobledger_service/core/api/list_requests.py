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

_ORDERS: Final = {
    api.JOB_ORDER_UNSPECIFIED: (Order.CREATE_TIME, False),
    api.JOB_ORDER_CREATE_TIME_DESC: (Order.CREATE_TIME, False),
    api.JOB_ORDER_CREATE_TIME_ASC: (Order.CREATE_TIME, True),
    api.JOB_ORDER_UPDATE_TIME_DESC: (Order.UPDATE_TIME, False),
    api.JOB_ORDER_UPDATE_TIME_ASC: (Order.UPDATE_TIME, True),
    api.JOB_ORDER_END_TIME_DESC: (Order.END_TIME, False),
    api.JOB_ORDER_END_TIME_ASC: (Order.END_TIME, True),
    api.JOB_ORDER_PRIORITY_DESC: (Order.PRIORITY, False),
    api.JOB_ORDER_PRIORITY_ASC: (Order.PRIORITY, True),
}
"""What each order sorts by, and whether ascending."""
_ORDER_NAMES: Final = [name.removeprefix("JOB_ORDER_") for name in api.JobOrder.keys()[1:]]
PAGE_SIZE: Final = 100
"""Of a request that names none."""
MAX_LABEL_CONDITIONS: Final = 16
MAX_LABEL_VALUES: Final = 100
"""The values of all conditions on labels together: each is tested on each row."""
_VALUES_OF: Final = {
    filter_pb2.LABEL_OPERATOR_EQ: (1, 1),
    filter_pb2.LABEL_OPERATOR_IN: (1, MAX_LABEL_VALUES),
    filter_pb2.LABEL_OPERATOR_EXISTS: (0, 0),
}
"""The minimum and the maximum of values that an operator takes."""
MAX_KNOWN_BYTES: Final = 512
"""Bytes of a request whose query is remembered."""
_WITHOUT_TASKS: Final = ("WatchJobs", "ExportJobs")
"""Methods that show jobs as of a position, for which their tasks are unknown."""


def view(number: int) -> View:
    """Return the view of a request."""
    if number == job_pb2.JOB_VIEW_UNSPECIFIED:
        return View.BASIC
    known = _VIEWS.get(cast("job_pb2.JobView.ValueType", number))
    if known is None:
        raise InvalidField(("view", must_be_one_of(number, View)))
    return known


def known_listing(request: api.ListJobsRequest, content: bytes, caller: Caller) -> Listing:
    """Return the query of ListJobs, whose encoded request is `content`: small requests are often repeated."""
    return _listing(content, caller) if len(content) <= MAX_KNOWN_BYTES else listing(request, caller)


@lru_cache(maxsize=256)
def _listing(content: bytes, caller: Caller) -> Listing:
    return listing(api.ListJobsRequest.FromString(content), caller)


def listing(request: api.ListJobsRequest, caller: Caller) -> Listing:
    """Return the query of ListJobs."""
    with Checks() as checks:
        job_filter = filter_of(checks, request, caller)
        limit = page_size(checks, request.page_size, max_size=500)
        if request.order not in _ORDERS:
            checks.one_of("order", request.order, _ORDER_NAMES)
    order, ascending = _ORDERS[request.order]
    return Listing(job_filter, order, ascending, limit=limit, view=view(request.view))


def page_size(checks: Checks, size: int, *, max_size: int) -> int:
    """Return the page size; a larger one than the maximum is the maximum."""
    checks.at_least("page_size", size, 0)
    return min(size, max_size) or PAGE_SIZE


def checked_page_size(size: int, *, max_size: int) -> int:
    """Return the page size of a request without other checks."""
    with Checks() as checks:
        return page_size(checks, size, max_size=max_size)


def job_filter(request: api.WatchJobsRequest, caller: Caller) -> JobFilter:
    """Return the filter of WatchJobs."""
    with Checks() as checks:
        return filter_of(checks, request, caller)


def filter_of(checks: Checks, request: Any, caller: Caller) -> JobFilter:  # noqa: ANN401  any with a filter
    """Return the filter of a request; raises RoleMissing for an owner whom the caller may not name."""
    sent: filter_pb2.JobFilter = request.filter
    method = request.DESCRIPTOR.name.removesuffix("Request")
    checks.kinds("filter.kinds", sent.kinds)
    low, high = _priorities(checks, sent)
    checks.at_most("filter.search", sent.search, MAX_SEARCH)
    searched = words(sent.search[:MAX_SEARCH])
    checks.count("filter.search", len(searched), MAX_SEARCH_WORDS)
    if sent.search and not searched:
        checks.fault("filter.search", f"value {shown(sent.search)} must contain a letter or a digit")
    checks.job_ids("filter.job_ids", sent.job_ids, limits.MAX_FILTER_JOB_IDS)
    checks.unique_key("filter.unique_key", sent.unique_key)
    checks.at_most("filter.error_code", sent.error_code, 128)
    checks.at_most("filter.task_id", sent.task_id, limits.MAX_TASK_ID)
    if sent.task_id and method in _WITHOUT_TASKS:
        checks.fault("filter.task_id", f"must be empty in {method}; find the jobs with ListJobs")
    owner = owner_of(checks, request, caller)
    if sent.all_owners and method != "WatchJobs":
        checks.fault("filter.all_owners", f"must be false in {method}; name an owner")
    return JobFilter(
        owner=owner,
        states=frozenset(checks.numbers("filter.states", sent.states, JOB_STATES_BY_NUMBER)),
        kinds=frozenset(sent.kinds),
        min_priority=low,
        max_priority=high,
        create_time=time_range(checks, "filter.create_time", sent.create_time),
        update_time=time_range(checks, "filter.update_time", sent.update_time),
        end_time=time_range(checks, "filter.end_time", sent.end_time),
        labels=labels(checks, "filter.labels", sent.labels),
        search=searched,
        include_service_jobs=sent.include_service_jobs,
        task_id=sent.task_id,
        job_ids=frozenset(sent.job_ids),
        all_owners=sent.all_owners,
        unique_key=sent.unique_key,
        error_code=sent.error_code,
        start_time=time_range(checks, "filter.start_time", sent.start_time),
        schedule_time=time_range(checks, "filter.schedule_time", sent.schedule_time),
        label_conditions=_label_conditions(checks, sent.label_conditions),
    )


def _priorities(checks: Checks, sent: filter_pb2.JobFilter) -> tuple[int, int]:
    low = sent.min_priority if sent.HasField("min_priority") else limits.MIN_PRIORITY
    high = sent.max_priority if sent.HasField("max_priority") else limits.MAX_PRIORITY
    checks.within("filter.min_priority", low, limits.MIN_PRIORITY, limits.MAX_PRIORITY)
    checks.within("filter.max_priority", high, limits.MIN_PRIORITY, limits.MAX_PRIORITY)
    if limits.MIN_PRIORITY <= high < low <= limits.MAX_PRIORITY:
        checks.fault("filter.max_priority", f"value {high} must be at least min_priority, {low}")
    return low, high


def _label_conditions(checks: Checks, sent: Sequence[filter_pb2.LabelCondition]) -> tuple[LabelCondition, ...]:
    field = "filter.label_conditions"
    checks.count(field, len(sent), MAX_LABEL_CONDITIONS)
    checks.count(f"{field}.values", sum(len(condition.values) for condition in sent), MAX_LABEL_VALUES)
    for index, condition in enumerate(sent):
        place = f"{field}[{index}]"
        checks.form(f"{place}.name", condition.name, LABEL, LABEL_FORM)
        if condition.operator not in _VALUES_OF:
            checks.one_of(f"{place}.operator", condition.operator, ("EQ", "IN", "EXISTS"))
            continue
        low, high = _VALUES_OF[condition.operator]
        checks.count(f"{place}.values", len(condition.values), high, low)
        for value in condition.values:
            checks.at_most(f"{place}.values", value, 255)
    return tuple(LabelCondition(condition.name, tuple(sorted(set(condition.values)))) for condition in sent)


def attempts(request: api.ListAttemptsRequest, caller: Caller) -> AttemptsWanted:
    """Return the query of ListAttempts."""
    with Checks() as checks:
        owner = owner_of(checks, request, caller)
        checks.job_id("job_id", request.job_id)
        limit = page_size(checks, request.page_size, max_size=1_000)
        index = request.chunk_index if request.HasField("chunk_index") else None
        checks.at_least("chunk_index", index or 0, 0)
        checks.at_most("task_id", request.task_id, limits.MAX_TASK_ID)
        checks.uid("uid", request.uid)
    key = job_key(owner, request.job_id)
    return AttemptsWanted(key, index, request.task_id, AttemptPlace(-1, 0), limit, request.uid)


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


def labels(checks: Checks, field: str, sent: Any) -> dict[str, str]:  # noqa: ANN401  a generated map
    """Return checked labels."""
    checks.count(field, len(sent), limits.MAX_LABELS)
    checked = dict(sent)
    for name, value in checked.items():
        place = f'{field}["{name}"]'
        checks.form(place, name, LABEL, LABEL_FORM)
        checks.at_most(place, value, 255)
    return checked
