"""Requests for events: which ones ListEvents returns, and how a watch delivers them."""

import math
from typing import Final

from jobledger.v1 import event_pb2, job_pb2
from jobledger.v1 import job_service_pb2 as api
from msgspec import Struct as MsgStruct

from jobledger_service.core.database.rows.event_terms import INDEXED, name_of
from jobledger_service.core.database.rows.reads import EventRow
from jobledger_service.core.model.history.change import ChangeType
from jobledger_service.core.model.job import job_key, uid_of
from jobledger_service.core.model.refusals.errors import InvalidField
from jobledger_service.core.read.event_pages import EventsWanted
from jobledger_service.core.watch.selection import ChangeFilter
from jobledger_service.core.watch.watch import Mode, WatchOptions
from jobledger_service.transport.identity import Caller

from .checks import Checks, must_be_one_of
from .convert import CHANGE_TYPES_BY_NUMBER
from .list_requests import time_range
from .owners import owner_of

_IS_NEWEST_FIRST: Final = {
    api.EVENT_ORDER_UNSPECIFIED: True,
    api.EVENT_ORDER_POSITION_DESC: True,
    api.EVENT_ORDER_POSITION_ASC: False,
}
_ORDER_NAMES: Final = [name.removeprefix("EVENT_ORDER_") for name in api.EventOrder.keys()[1:]]
MAX_TERMS: Final = 2_000
"""Terms that one query walks: actors times kinds times types of changes."""

WatchRequest = api.WatchJobRequest | api.WatchJobsRequest
_MODES: Final = {api.WatchMode.Value(f"WATCH_MODE_{mode.name}"): mode for mode in Mode}


class EventKeeper(MsgStruct, frozen=True):
    """Keeps events by their messages: the kind of the job, and one change of these types by one of these actors."""

    actors: tuple[str, ...]
    change_types: frozenset[ChangeType]
    kinds: tuple[str, ...]

    def __call__(self, row: EventRow) -> bool:
        """Whether an event is kept. Unreadable events are kept, to be reported as unreadable."""
        try:
            message = api.WatchJobResponse.FromString(row.message)
        except Exception:  # noqa: BLE001  whatever is wrong with one event is wrong with it alone
            return True
        if self.kinds and message.job.kind not in self.kinds:
            return False
        return not self.actors or any(map(self._is_meant, message.event.changes))

    def _is_meant(self, change: event_pb2.Change) -> bool:
        by = change.actor in self.actors or name_of(change.actor) in self.actors
        return by and CHANGE_TYPES_BY_NUMBER.get(change.type) in self.change_types


def events_wanted(request: api.ListEventsRequest, caller: Caller) -> tuple[EventsWanted, EventKeeper | None]:
    """Return the query of ListEvents; raises RoleMissing."""
    sent = request.filter
    with Checks() as checks:
        checks.count("filter.actors", len(sent.actors), 20)
        for index, actor in enumerate(sent.actors):
            checks.at_most(f"filter.actors[{index}]", actor, 256, min_length=1)
        checks.kinds("filter.kinds", sent.kinds)
        changes = frozenset(checks.numbers("filter.change_types", sent.change_types, CHANGE_TYPES_BY_NUMBER))
        if request.job_id:
            checks.job_id("job_id", request.job_id)
            if sent.all_owners:
                checks.fault("filter.all_owners", "must be false with a job_id")
        else:
            changes = changes or INDEXED
            if request.uid:
                checks.fault("uid", "must be empty without a job_id")
        checks.uid("uid", request.uid)
        if request.order not in _IS_NEWEST_FIRST:
            checks.one_of("order", request.order, _ORDER_NAMES)
        owner = owner_of(checks, request, caller)
        span = time_range(checks, "filter.commit_time", sent.commit_time)
        terms = math.prod(max(1, len(set(values))) for values in (sent.actors, sent.kinds, changes))
        if terms > MAX_TERMS:
            checks.fault(
                "filter", f"actors times kinds times change_types must be at most {MAX_TERMS:,}; got {terms:,}"
            )
    keeper = EventKeeper(
        tuple(sorted(set(sent.actors))), changes or frozenset(ChangeType), tuple(sorted(set(sent.kinds)))
    )
    return EventsWanted(
        job_key=job_key(owner, request.job_id) if request.job_id else None,
        uid=uid_of(request.uid) or None,
        owner=None if sent.all_owners else owner,
        newest_first=_IS_NEWEST_FIRST[request.order],
        commit_time=span,
        changes=changes,
        actors=keeper.actors,
        kinds=keeper.kinds,
    ), keeper if keeper.actors or keeper.kinds else None


def watch_options(request: WatchRequest) -> WatchOptions:
    """Return how a watch delivers."""
    with Checks() as checks:
        types = checks.numbers("change_types", request.change_types, CHANGE_TYPES_BY_NUMBER)
        mode = checks.member("mode", request.mode, _MODES, Mode.LATEST)
    changes = ChangeFilter(frozenset(types), request.state_changes_only)
    from_now = batches = False
    if isinstance(request, api.WatchJobsRequest):
        from_now, batches = request.from_now, request.batches
    if from_now and request.cursor:
        raise InvalidField(("from_now", "must be false with a cursor"))
    return WatchOptions(mode, _in_status(request.view), changes, from_now, batches)


def _in_status(number: int) -> bool:
    """Return whether a watch is in view STATUS."""
    if number not in (job_pb2.JOB_VIEW_UNSPECIFIED, job_pb2.JOB_VIEW_STATUS):
        raise InvalidField(("view", must_be_one_of(number, ("UNSPECIFIED", "STATUS"))))
    return number == job_pb2.JOB_VIEW_STATUS
