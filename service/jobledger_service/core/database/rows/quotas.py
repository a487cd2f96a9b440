"""The quotas of owners, and what is counted against them: read, and in the transactions of batches."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct as MsgStruct
from sqlalchemy import Connection, select

from jobledger_service.core.database.dialects import Dialect
from jobledger_service.core.database.tables import counts, quotas
from jobledger_service.core.model.bounds.quotas import Bounds, JobsHeld
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.service_kinds import ALL_KINDS, SERVICE_KINDS
from jobledger_service.core.model.states import JobState

_BOUNDS: Final = Bounds.__struct_fields__
_QUOTAS: Final = select(
    quotas.c.owner, *(quotas.c[name] for name in _BOUNDS), quotas.c.reason, quotas.c.set_by, quotas.c.set_time
)


class Quota(MsgStruct, frozen=True):
    """What an admin set for an owner: its bounds, None for the server's default; why, by whom, and when."""

    owner: str
    bounds: Bounds = Bounds()
    reason: str = ""
    set_by: str = ""
    set_time: Micros | None = None


class QuotaRows:
    """The statements over quotas and counts: none reads a row for each job or kind."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._of_owners = _QUOTAS.where(quotas.c.owner.in_(dialect.keys()))
        self._counts = select(
            counts.c.owner, counts.c.kind, counts.c.state, counts.c.jobs, counts.c.artifact_bytes
        ).where(counts.c.owner.in_(dialect.keys()), counts.c.kind.in_((ALL_KINDS, *SERVICE_KINDS)))

    def find(self, connection: Connection, owners: Iterable[str]) -> dict[str, Quota]:
        """Return the quotas that were set, by owner."""
        rows = connection.execute(self._of_owners, {"keys": self._dialect.key_values(owners)})
        return {row[0]: _quota_of(row) for row in rows}

    def page(self, connection: Connection, after: str, limit: int) -> list[Quota]:
        """Return at most `limit` quotas after an owner."""
        rows = connection.execute(_QUOTAS.where(quotas.c.owner > after).order_by(quotas.c.owner).limit(limit))
        return [_quota_of(row) for row in rows]

    def jobs_held(self, connection: Connection, owners: Collection[str]) -> dict[str, JobsHeld]:
        """Return how much each owner has, without the service's own jobs."""
        held = dict.fromkeys(owners, JobsHeld())
        for owner, kind, state, *numbers in connection.execute(
            self._counts, {"keys": self._dialect.key_values(owners)}
        ):
            sign = 1 if kind == ALL_KINDS else -1
            held[owner] = held[owner].plus(JobState(state), *(sign * number for number in numbers))
        return held

    def lock(
        self, connection: Connection, adding: Collection[str], storing: Collection[str], defaults: Bounds
    ) -> Mapping[str, Bounds]:
        """Return the bounds in force of the owners that add jobs or artifacts, if they have any on these.

        No other transaction adds any of theirs.
        """
        owners = {*adding, *storing}
        by_owner = self.find(connection, owners)
        in_force = {
            owner: (by_owner[owner].bounds if owner in by_owner else Bounds()).or_(defaults) for owner in owners
        }
        bounded = {
            owner: bounds
            for owner, bounds in in_force.items()
            if (owner in adding and bounds.on_jobs) or (owner in storing and bounds.max_artifact_bytes is not None)
        }
        if bounded:
            self._dialect.lock(connection, *(f"jobs of {owner}" for owner in bounded))
        return bounded


def _quota_of(row: Sequence[object]) -> Quota:
    owner, *values = row
    return Quota(owner, Bounds(*values[: len(_BOUNDS)]), *values[len(_BOUNDS) :])  # type: ignore[arg-type] # of the columns
