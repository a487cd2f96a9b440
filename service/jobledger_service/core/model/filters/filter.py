"""Filters: which jobs a list or a watch includes."""

from collections.abc import Hashable, Mapping
from operator import attrgetter
from typing import Final, Self

from msgspec import Struct as MsgStruct
from msgspec.structs import asdict

from jobledger_service.core.model.bounds.limits import MAX_PRIORITY, MIN_PRIORITY
from jobledger_service.core.model.job import NO_LABELS, Job, job_key
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.owners import ALL_OWNERS
from jobledger_service.core.model.service_kinds import is_reserved
from jobledger_service.core.model.states import JobState

from .search import error_code_mark, label_marks, match_prefixes, owner_mark, unique_key_mark, words

_CHANGING: Final = (
    "state", "priority", "display_name", "error", "error_code", "schedule_time", "start_time", "update_time",
    "end_time",
)  # fmt: skip
_changing: Final = attrgetter(*_CHANGING)


class TimeRange(MsgStruct, frozen=True):
    """The range from `start`, inclusive, to `end`, exclusive, in microseconds; None is no bound."""

    start: Micros | None = None
    end: Micros | None = None

    def holds(self, time: int | None) -> bool:
        """Whether the range includes `time`; only the unbounded range includes None (never happened)."""
        if self.start is None and self.end is None:
            return True
        if time is None:
            return False
        return (self.start is None or self.start <= time) and (self.end is None or time < self.end)


ANY_TIME: Final = TimeRange()


class FilterFields(MsgStruct, frozen=True):
    """The fields of a job that a filter tests."""

    owner: str
    job_id: str
    kind: str
    state: JobState
    priority: int
    display_name: str
    unique_key: str
    error: str
    error_code: str
    labels: Mapping[str, str]
    create_time: Micros
    schedule_time: Micros | None
    start_time: Micros | None
    update_time: Micros
    end_time: Micros | None

    @classmethod
    def of(cls, job: Job) -> Self:
        """Return the filter fields of a job."""
        spec, error = job.spec, None if job.first_failure is None else job.error
        return cls(
            owner=spec.owner,
            job_id=spec.job_id,
            kind=spec.kind,
            state=job.state,
            priority=job.priority,
            display_name=job.display_name,
            unique_key=spec.unique_key,
            error=error.message if error else "",
            error_code=error.code if error else "",
            labels=job.labels,
            create_time=spec.create_time,
            schedule_time=job.schedule_time,
            start_time=job.start_time,
            update_time=job.update_time,
            end_time=job.end_time,
        )

    @property
    def words(self) -> tuple[str, ...]:
        """The fields of a job that a search tests."""
        return words(self.display_name, self.kind, self.job_id, *self.labels.values(), self.error_code, self.error)

    @property
    def full_text(self) -> str:
        """The full text of the job: its words, and marks of what filters compare as a whole, separated by spaces."""
        marks = [owner_mark(self.owner), *label_marks(self.labels)]
        if self.unique_key:
            marks.append(unique_key_mark(self.unique_key))
        if self.error_code:
            marks.append(error_code_mark(self.error_code))
        return " ".join((*self.words, *marks))


class LabelCondition(MsgStruct, frozen=True):
    """A condition on one label: it has one of the values, or is there at all if there are none."""

    name: str
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet it."""
        return labels.get(self.name) in self.values if self.values else self.name in labels


class JobFilter(MsgStruct, frozen=True):
    """Conditions that must all hold; an empty filter always holds."""

    owner: str
    states: frozenset[JobState] = frozenset()
    kinds: frozenset[str] = frozenset()
    min_priority: int = MIN_PRIORITY
    max_priority: int = MAX_PRIORITY
    create_time: TimeRange = ANY_TIME
    update_time: TimeRange = ANY_TIME
    end_time: TimeRange = ANY_TIME
    labels: Mapping[str, str] = NO_LABELS
    search: tuple[str, ...] = ()
    """Words, each of which must be a prefix of one of the job's words."""
    include_service_jobs: bool = False
    task_id: str = ""
    """The id of an attempt's task at an external engine, of which a job need not be the latest; only for lists."""
    job_ids: frozenset[str] = frozenset()
    all_owners: bool = False
    """Whether jobs of other owners match too; only for watches."""
    unique_key: str = ""
    error_code: str = ""
    start_time: TimeRange = ANY_TIME
    schedule_time: TimeRange = ANY_TIME
    label_conditions: tuple[LabelCondition, ...] = ()

    @property
    def events_of(self) -> str:
        """The owner whose events may match, or ALL_OWNERS."""
        return ALL_OWNERS if self.all_owners else self.owner

    @property
    def job_keys(self) -> list[str]:
        """The keys of the named jobs, in order."""
        return [job_key(self.owner, job_id) for job_id in sorted(self.job_ids)]

    @property
    def callers_only(self) -> bool:
        """Whether the filter excludes the service's own jobs: unless it includes them, or names their kind."""
        return not (self.include_service_jobs or self.kinds)

    @property
    def identity(self) -> Hashable:
        """The filter as a hashable key; equal filters have equal keys."""
        values = asdict(self)
        return tuple((values | {"labels": frozenset(self.labels.items())}).values())

    def matches(self, filter_fields: FilterFields) -> bool:
        """Whether a job with these fields matches."""
        return (
            (self.all_owners or filter_fields.owner == self.owner)
            and (not self.job_ids or filter_fields.job_id in self.job_ids)
            and (not self.states or filter_fields.state in self.states)
            and (not self.kinds or filter_fields.kind in self.kinds)
            and not (self.callers_only and is_reserved(filter_fields.kind))
            and self.min_priority <= filter_fields.priority <= self.max_priority
            and (self.create_time is ANY_TIME or self.create_time.holds(filter_fields.create_time))
            and (self.update_time is ANY_TIME or self.update_time.holds(filter_fields.update_time))
            and (self.end_time is ANY_TIME or self.end_time.holds(filter_fields.end_time))
            and (self.start_time is ANY_TIME or self.start_time.holds(filter_fields.start_time))
            and (self.schedule_time is ANY_TIME or self.schedule_time.holds(filter_fields.schedule_time))
            and self.unique_key in ("", filter_fields.unique_key)
            and self.error_code in ("", filter_fields.error_code)
            and (not self.labels or self.labels.items() <= filter_fields.labels.items())
            and (
                not self.label_conditions
                or all(condition.holds(filter_fields.labels) for condition in self.label_conditions)
            )
            and (not self.search or match_prefixes(self.search, filter_fields.words))
        )


def changed_fields(before: FilterFields, after: FilterFields) -> dict[str, object]:
    """Return the fields of `before` that differ in `after`, ready for JSON."""
    both = zip(_CHANGING, _changing(before), _changing(after), strict=True)
    differs: dict[str, object] = {name: was for name, was, is_ in both if was != is_}
    if before.labels != after.labels:
        differs["labels"] = dict(before.labels)
    return differs
