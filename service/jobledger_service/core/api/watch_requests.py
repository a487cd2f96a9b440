"""Requests for watches."""

from jobledger.v1 import job_pb2
from jobledger.v1 import job_service_pb2 as api

from jobledger_service.core.ledger.feed.selection import ChangeFilter
from jobledger_service.core.ledger.watch import Mode, WatchOptions
from jobledger_service.core.model.errors import InvalidField

from .checks import Checks, must_be_one_of
from .convert import CHANGE_TYPES_BY_NUMBER

WatchRequest = api.WatchJobRequest | api.WatchJobsRequest


def watch_options(request: WatchRequest) -> WatchOptions:
    """Return how a watch delivers."""
    with Checks() as checks:
        types = checks.numbers("change_types", request.change_types, CHANGE_TYPES_BY_NUMBER)
    changes = ChangeFilter(frozenset(types), request.state_changes_only)
    from_now = batches = False
    if isinstance(request, api.WatchJobsRequest):
        from_now, batches = request.from_now, request.batches
    if from_now and request.cursor:
        raise InvalidField(("from_now", "must be false with a cursor"))
    return WatchOptions(_mode(request.mode), _in_status(request.view), changes, from_now, batches)


def _in_status(given: int) -> bool:
    """Return whether a watch is in view STATUS."""
    if given not in (job_pb2.JOB_VIEW_UNSPECIFIED, job_pb2.JOB_VIEW_STATUS):
        raise InvalidField(("view", must_be_one_of(given, ("UNSPECIFIED", "STATUS"))))
    return given == job_pb2.JOB_VIEW_STATUS


def _mode(mode: int) -> Mode:
    """Return the mode of a watch."""
    match mode:
        case api.WATCH_MODE_UNSPECIFIED | api.WATCH_MODE_LATEST:
            return Mode.LATEST
        case api.WATCH_MODE_EVERY:
            return Mode.EVERY
    raise InvalidField(("mode", must_be_one_of(mode, Mode)))
