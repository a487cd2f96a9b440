"""Statistics: the query and its result."""

from collections.abc import Sequence
from operator import add
from typing import Final

from msgspec import Struct as MsgStruct
from msgspec import field

from jobledger_service.core.model.service_kinds import ALL_KINDS, SERVICE_KINDS
from jobledger_service.core.model.states import JobState

from .failures import FailureGroups
from .rollup import NOT_HELD, Activity

MAX_KINDS: Final = 1_000
"""The most kinds that are shown one by one."""


def numbers(hours: range, step: int) -> range:
    """Return the numbers of the points of a span."""
    return range(hours.start // step, -(-hours.stop // step))


class StatsQuery(MsgStruct, frozen=True):
    """The query: of these kinds, or of all when empty; `hours` since 1970; `step` hours a point, or 0.

    All kinds are those of callers, unless the service's own are included.
    """

    owner: str
    kinds: tuple[str, ...]
    hours: range
    step: int = 0
    include_service_jobs: bool = False
    series_by_kind: bool = False

    @property
    def callers_only(self) -> bool:
        """Whether the service's own kinds are excluded: unless they are included, or named."""
        return not (self.include_service_jobs or self.kinds)

    @property
    def together(self) -> tuple[str, ...]:
        """The kinds whose figures add up to the total: those asked for, or what stands for all."""
        return self.kinds or (ALL_KINDS,)

    @property
    def excluded(self) -> tuple[str, ...]:
        """The kinds whose figures are subtracted from the total."""
        return SERVICE_KINDS if self.callers_only else ()

    @property
    def numbers(self) -> range:
        """The numbers of the points of the series; empty without a series."""
        return numbers(self.hours, self.step) if self.step else range(0)

    @property
    def failing(self) -> tuple[str, ...]:
        """The kinds whose failures are counted: what stands for all has only those of callers' kinds."""
        return self.kinds or ((ALL_KINDS,) if self.callers_only else (ALL_KINDS, *SERVICE_KINDS))

    def sign(self, kind: str) -> int:
        """Return whether a kind's figures are added to the total, 1, subtracted, -1, or neither."""
        return (kind in self.together) - (kind in self.excluded)


class KindFigures(MsgStruct):
    """The current figures of one kind, and its activity in the span; `oldest_queued` is a create_time."""

    jobs: dict[JobState, int] = {}
    chunks_pending: int = 0
    chunks_processing: int = 0
    chunks_held: Sequence[int] = NOT_HELD
    """The pending ones that may not be claimed yet, by reason, in the order of HoldReason."""
    chunks_paused: int = 0
    """The pending ones of paused kinds, whether something else holds them too or not."""
    oldest_queued: int | None = None
    activity: Activity = field(default_factory=Activity)
    artifact_bytes: int = 0
    """The bytes of its jobs' artifacts."""

    def __bool__(self) -> bool:
        return any(self.jobs.values()) or bool(self.activity)

    def put(self, state: JobState, jobs: int, chunks_pending: int, chunks_processing: int, *numbers: int) -> None:
        """Add the counts of a state; `numbers` are the chunks with each hold, then the bytes of artifacts."""
        *chunks_held, stored = numbers
        self.artifact_bytes += stored
        self.jobs[state] = self.jobs.get(state, 0) + jobs
        self.chunks_pending += chunks_pending
        self.chunks_processing += chunks_processing
        self.chunks_held = tuple(map(add, self.chunks_held, chunks_held))


Points = dict[int, Activity]
"""The activity of each non-empty point of a series, by number: its first hour divided by the step."""


class Figures(MsgStruct):
    """The figures of the kinds that are shown, by kind; those of all, and how many kinds are not shown.

    `points` are those of all, and `kind_points` those of each kind with a series of its own.
    """

    kinds: dict[str, KindFigures]
    total: KindFigures
    points: Points
    omitted_kind_count: int = 0
    kind_points: dict[str, Points] = {}
    omitted_series_count: int = 0
    failures: FailureGroups = FailureGroups()
