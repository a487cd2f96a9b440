"""Quotas as messages, with the present use of what they bound."""

from collections.abc import Callable

from jobledger.v1 import admin_service_pb2 as api

from jobledger_service.core.database.engines import Database
from jobledger_service.core.database.rows.quotas import Quota, QuotaRows
from jobledger_service.core.model.bounds.quotas import Bounds, JobsHeld
from jobledger_service.core.read.paging import last_place

from .convert import timestamp


class ShownQuotas:
    """Reads quotas as they are shown; `streams_of` counts the open watches of an owner. Each method is one read."""

    def __init__(self, database: Database, defaults: Bounds, streams_of: Callable[[str], int]) -> None:
        self.defaults = defaults
        self._database = database
        self._rows = QuotaRows(database.dialect)
        self._streams_of = streams_of

    def of(self, owner: str) -> api.Quota:
        """Return the bounds in force of an owner, and their use."""
        with self._database.read() as connection:
            quota = self._rows.find(connection, [owner]).get(owner, Quota(owner))
            return self._shown(quota, self._rows.jobs_held(connection, [owner])[owner])

    def page(self, after: tuple[str, ...] | None, limit: int) -> tuple[list[api.Quota], tuple[str] | None]:
        """Return at most `limit` quotas that were set after an owner, and the last of them if there are more."""
        with self._database.read() as connection:
            quotas = self._rows.page(connection, after[0] if after else "", limit + 1)
            page = quotas[:limit]
            held = self._rows.jobs_held(connection, [quota.owner for quota in page]) if page else {}
        return [self._shown(quota, held[quota.owner]) for quota in page], last_place(quotas, limit, "owner")

    def page_of(
        self,
        owner: str,
        _after: tuple[str, ...] | None,
        _limit: int,
    ) -> tuple[list[api.Quota], tuple[str] | None]:
        """Return the quota of an owner if it was set, as the only page."""
        quota = self.of(owner)
        return [quota] if quota.HasField("set_time") else [], None

    def _shown(self, quota: Quota, held: JobsHeld) -> api.Quota:
        names, in_force = Bounds.__struct_fields__, quota.bounds.or_(self.defaults)
        message = api.Quota(
            owner=quota.owner,
            default_fields=[name for name in names if getattr(quota.bounds, name) is None],
            unfinished_job_count=held.unfinished,
            stored_job_count=held.stored,
            artifact_bytes=max(held.artifact_bytes, 0),
            watch_count=self._streams_of(quota.owner),
            reason=quota.reason,
            set_by=quota.set_by,
            set_time=None if quota.set_time is None else timestamp(quota.set_time),
        )
        for name in names:
            if (bound := getattr(in_force, name)) is not None:
                setattr(message, name, bound)
        return message
