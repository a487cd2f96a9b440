"""Runs that failed, grouped by why: the error's code and stage, counted by the hour and by the day.

A kind has at most MAX_GROUPS groups in an hour, and as many in a day; all other reasons are one group more. So the
number of stored rows is bounded, whatever codes workers report.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct as MsgStruct

from jobledger_service.core.model.bounds.limits import HOUR
from jobledger_service.core.model.chunk import WorkError
from jobledger_service.core.model.job import Job
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.service_kinds import ALL_KINDS, is_reserved

DAY_HOURS: Final = 24
PERIODS: Final = (1, DAY_HOURS)
"""The hours of the periods by which failures are counted."""
MAX_GROUPS: Final = 30
"""The most groups of a kind in a period, beside OTHER."""
MAX_SHOWN: Final = 100
"""The most groups that are shown."""
OTHER: Final = ("(other)", "")
"""The group of all reasons after the first MAX_GROUPS."""
_TIME_DIGITS: Final = 16

Group = tuple[str, str]
"""Error code and stage."""
Period = tuple[str, int, int]
"""Kind key, hours, and the first of these, since 1970."""
FailureCounts = dict[Period, dict[Group, tuple[int, str]]]
"""How often runs failed, and which did last, by period and group."""


class FailureGroup(MsgStruct, frozen=True):
    """The runs that failed for one reason; the example is empty when the job that did last is deleted."""

    error_code: str
    stage: str
    count: int
    example_job_id: str = ""


class FailureGroups(MsgStruct, frozen=True):
    """The largest groups, and how many there are beside."""

    shown: tuple[FailureGroup, ...] = ()
    omitted: int = 0


def kind_key(owner: str, kind: str) -> str:
    """Return the key of an owner's kind, or of all kinds of callers."""
    return f"{owner}/{kind}"


def run_mark(job_id: str, now: Micros) -> str:
    """Return the mark of a run that failed at a time: of two the later one is greater."""
    return f"{now:0{_TIME_DIGITS}x}{job_id}"


def parse_mark(mark: str) -> tuple[str, int]:
    """Return the job and the time of a mark."""
    return mark[_TIME_DIGITS:], int(mark[:_TIME_DIGITS], 16)


def count_failure(counts: FailureCounts, job: Job, error: WorkError, now: Micros) -> None:
    """Count a run of a job that failed. Those of the service's own kinds do not count among all kinds."""
    owner, kind = job.spec.owner, job.spec.kind
    group = (error.code, error.stage)
    for hours in PERIODS:
        first = now // HOUR // hours * hours
        for counted in (kind,) if is_reserved(kind) else (kind, ALL_KINDS):
            groups = counts.setdefault((kind_key(owner, counted), hours, first), {})
            count, _ = groups.get(group, (0, ""))
            groups[group] = (count + 1, run_mark(job.spec.job_id, now))


def bounded(counts: FailureCounts, known: Mapping[Period, set[Group]]) -> FailureCounts:
    """Return the counts with OTHER in place of groups that exceed the limit of a period; `known` are those it has."""
    kept: FailureCounts = {}
    for period, groups in counts.items():
        names = known.get(period, set()) - {OTHER}
        into = kept.setdefault(period, {})
        for group, (count, mark) in groups.items():
            counted = group if group in names or len(names) < MAX_GROUPS else OTHER
            if counted != OTHER:
                names.add(counted)
            old_count, old_mark = into.get(counted, (0, ""))
            into[counted] = (old_count + count, max(old_mark, mark))
    return kept


def periods_of(hours: range) -> tuple[tuple[int, range], ...]:
    """Return the periods that make up a span: the hours before its whole days, the days, the hours after them."""
    first, last = -(-hours.start // DAY_HOURS) * DAY_HOURS, hours.stop // DAY_HOURS * DAY_HOURS
    if first >= last:
        first = last = hours.stop
    return (1, range(hours.start, first)), (DAY_HOURS, range(first, last)), (1, range(last, hours.stop))
