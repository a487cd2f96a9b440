"""The index of subscriptions: those of an entry are found by its job, or by its owner, and kind and labels."""

from collections.abc import Hashable, Iterable, Iterator
from itertools import chain
from typing import Final

from msgspec import Struct as MsgStruct
from msgspec import field

from jobledger_service.core.database.rows.entry import Entry
from jobledger_service.core.model.filters.filter import JobFilter
from jobledger_service.core.model.job import owner_of
from jobledger_service.core.model.owners import ALL_OWNERS

from .selection import may_end_leases
from .subscription import FeedCounts, FeedSubscription, OutgoingEntry

Label = tuple[str, str]
Route = tuple[str | None, Label | None] | str
"""A kind and a label that an entry must have for a filter to match it, None is any; or the key of its job."""

ANY: Final = None


class _FilterGroup(MsgStruct):
    """Subscriptions with equal filters."""

    filter: JobFilter
    subscriptions: dict[FeedSubscription, None] = field(default_factory=dict)


_Groups = dict[Hashable, _FilterGroup]
_Routes = dict[Route, _Groups]
_NO_GROUPS: Final[_Groups] = {}


class Subscribers:
    """The subscriptions of one process. An entry costs nothing to those of other owners, kinds or jobs."""

    def __init__(self, counts: FeedCounts) -> None:
        self._counts = counts
        self._of_job: dict[str, dict[FeedSubscription, None]] = {}
        self._of_owner: dict[str, _Routes] = {}
        self._stops_of_owner: dict[str, _Routes] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[FeedSubscription]:
        for of_job in self._of_job.values():
            yield from of_job
        indexes = self._of_owner.values(), self._stops_of_owner.values()
        yield from set[FeedSubscription]().union(*map(_subscriptions_of, chain(*indexes)))

    def _index_of(self, subscription: FeedSubscription) -> dict[str, _Routes]:
        return self._stops_of_owner if subscription.stops_only else self._of_owner

    def add(self, subscription: FeedSubscription) -> None:
        """Deliver entries to a subscription from now on."""
        self._count += 1
        if subscription.jobs is None:
            self._of_job.setdefault(subscription.job_key, {})[subscription] = None
            return
        identity, index = subscription.jobs.identity, self._index_of(subscription)
        for owner in subscription.owners:
            routes = index.setdefault(owner, {})
            for route in _routes_of_filter(subscription.jobs):
                groups = routes.setdefault(route, {})
                group = groups.setdefault(identity, _FilterGroup(subscription.jobs))
                group.subscriptions[subscription] = None

    def remove(self, subscription: FeedSubscription) -> None:
        """Stop delivering to a subscription."""
        self._count -= 1
        if subscription.jobs is None:
            of_job = self._of_job[subscription.job_key]
            del of_job[subscription]
            if not of_job:
                del self._of_job[subscription.job_key]
            return
        identity, index = subscription.jobs.identity, self._index_of(subscription)
        for owner in subscription.owners:
            routes = index[owner]
            for route in _routes_of_filter(subscription.jobs):
                groups = routes[route]
                del groups[identity].subscriptions[subscription]
                if not groups[identity].subscriptions:
                    del groups[identity]
                if not groups:
                    del routes[route]
            if not routes:
                del index[owner]

    def publish(self, entry: Entry) -> None:
        """Deliver an entry to the matching subscriptions; equal filters are applied once."""
        if of_job := self._of_job.get(entry.job_key):
            _offer(entry, of_job)
        owners = owner_of(entry.job_key), ALL_OWNERS
        for owner in owners:
            if (routes := self._of_owner.get(owner)) is not None:
                self._publish(entry, routes, entry)
        if may_end_leases(entry):
            for owner in owners:
                if (routes := self._stops_of_owner.get(owner)) is not None:
                    self._publish(entry, routes, entry.without_content)

    def _publish(self, entry: Entry, routes: _Routes, offered: Entry) -> None:
        if not entry.is_readable:
            _offer(offered, _subscriptions_of(routes))
            return
        for route in _routes_of_entry(entry):
            for group in routes.get(route, _NO_GROUPS).values():
                self._counts.evaluations += 1
                if entry.concerns(group.filter):
                    _offer(offered, group.subscriptions)


def _subscriptions_of(routes: _Routes) -> set[FeedSubscription]:
    groups = (group for groups in routes.values() for group in groups.values())
    return {subscription for group in groups for subscription in group.subscriptions}


def _offer(entry: Entry, subscriptions: Iterable[FeedSubscription]) -> None:
    outgoing = OutgoingEntry(entry)
    for subscription in subscriptions:
        subscription.offer(outgoing)


def _routes_of_filter(jobs: JobFilter) -> list[Route]:
    """Return the routes of all entries that a filter may match: one for each of its jobs, or else of its kinds."""
    if jobs.job_ids and not jobs.all_owners:
        return list(jobs.job_keys)
    label = min(jobs.labels.items(), default=ANY)
    return [(kind, label) for kind in jobs.kinds or (ANY,)]


def _routes_of_entry(entry: Entry) -> Iterator[Route]:
    """Yield the routes of all filters that may match an entry, by its job before and after."""
    yield entry.job_key
    sides = [fields for fields in (entry.before, entry.after) if fields is not None]
    labels: set[Label | None] = {ANY}
    for fields in sides:
        labels.update(fields.labels.items())
    for kind in {ANY, *(fields.kind for fields in sides)}:
        for label in labels:
            yield kind, label
