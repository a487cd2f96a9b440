"""Statistics: the query and its result."""

from collections.abc import Mapping

from msgspec import Struct as MsgStruct
from msgspec import field

from jobledger_service.core.model.states import JobState

from .activity import Activity


class StatsQuery(MsgStruct, frozen=True):
    """The query: of these kinds, or of all when empty; `hours` since 1970; `step` hours a point, or 0.

    All kinds are those of callers, unless the service's own are included.
    """

    owner: str
    kinds: tuple[str, ...]
    hours: range
    step: int = 0
    include_service_jobs: bool = False

    @property
    def callers_only(self) -> bool:
        """Whether the service's own kinds are excluded: unless they are included, or named."""
        return not (self.include_service_jobs or self.kinds)


class KindFigures(MsgStruct):
    """The current figures of one kind, and its activity in the span; the oldest is a create_time, None for none."""

    jobs: dict[JobState, int] = {}
    chunks_pending: int = 0
    chunks_processing: int = 0
    oldest_queued: int | None = None
    activity: Activity = field(default_factory=Activity)

    def __bool__(self) -> bool:
        return any(self.jobs.values()) or bool(self.activity)

    def add(self, other: "KindFigures") -> None:
        """Add another kind's figures."""
        for state, count in other.jobs.items():
            self.jobs[state] = self.jobs.get(state, 0) + count
        self.chunks_pending += other.chunks_pending
        self.chunks_processing += other.chunks_processing
        waiting = [time for time in (self.oldest_queued, other.oldest_queued) if time is not None]
        self.oldest_queued = min(waiting, default=None)
        self.activity.add(other.activity)


class Figures(MsgStruct, frozen=True):
    """All kinds' figures by kind, and the activity of each non-empty point of the series, by number.

    A point's number is its first hour divided by the step.
    """

    kinds: Mapping[str, KindFigures]
    points: Mapping[int, Activity]
