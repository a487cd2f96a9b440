"""The request of ListEvents: which events are wanted, and which of these are kept."""

from jobledger.v1 import event_pb2
from jobledger.v1 import job_service_pb2 as api
from msgspec import Struct as MsgStruct

from jobledger_service.core.store.event_pages import EventsWanted
from jobledger_service.core.store.reads import EventRow
from jobledger_service.transport.identity import Caller

from .checks import Checks
from .convert import CHANGE_TYPES_BY_NUMBER
from .list_requests import time_range
from .owners import owner_of


class EventKeeper(MsgStruct, frozen=True):
    """Keeps events by their messages: the kind of the job, and one change of these types by one of these actors."""

    actors: tuple[str, ...]
    change_types: tuple[int, ...]
    kinds: tuple[str, ...]

    def __call__(self, row: EventRow) -> bool:
        """Whether an event is kept. One that cannot be read is, and then is named as such."""
        try:
            message = api.WatchJobResponse.FromString(row.message)
        except Exception:  # noqa: BLE001  whatever is wrong with one event is wrong with it alone
            return True
        if self.kinds and message.job.kind not in self.kinds:
            return False
        return not self.actors or any(map(self._is_meant, message.event.changes))

    def _is_meant(self, change: event_pb2.Change) -> bool:
        by = any(change.actor.startswith(one) if one.endswith("/") else change.actor == one for one in self.actors)
        return by and (not self.change_types or change.type in self.change_types)


def events_wanted(request: api.ListEventsRequest, caller: Caller) -> tuple[EventsWanted, EventKeeper | None]:
    """Return the query of ListEvents; raises RoleMissing."""
    given = request.filter
    with Checks() as checks:
        checks.count("filter.actors", len(given.actors), 20)
        for index, actor in enumerate(given.actors[:20]):
            checks.at_most(f"filter.actors[{index}]", actor, 256, min_length=1)
        checks.kinds("filter.kinds", given.kinds)
        checks.count("filter.change_types", len(given.change_types), len(CHANGE_TYPES_BY_NUMBER))
        for index, number in enumerate(given.change_types):
            if number not in CHANGE_TYPES_BY_NUMBER:
                checks.one_of(f"filter.change_types[{index}]", number, CHANGE_TYPES_BY_NUMBER.values())
        owner = owner_of(checks, request, caller)
        span = time_range(checks, "filter.commit_time", given.commit_time)
    keeper = EventKeeper(
        tuple(sorted(set(given.actors))), tuple(sorted(set(given.change_types))), tuple(sorted(set(given.kinds)))
    )
    return EventsWanted(
        owner=None if given.all_owners else owner,
        newest_first=not request.oldest_first,
        commit_time=span,
        changes=frozenset(CHANGE_TYPES_BY_NUMBER[number] for number in given.change_types),
    ), keeper if keeper.actors or keeper.kinds else None
