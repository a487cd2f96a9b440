"""A crowd of jobs as a ledger has them after 90 days: owners, kinds, names, labels and outcomes, from a seed number."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from jobledger_service.core.api.convert import segments
from jobledger_service.core.database.rows.writes import Writes
from jobledger_service.core.model.bounds.limits import DAY
from jobledger_service.core.model.filters.filter import FilterFields
from jobledger_service.core.model.job import Inputs, Job, JobSpec, uid_of
from jobledger_service.core.model.lifecycle import NewJob, create
from jobledger_service.core.model.micros import Micros
from jobledger_service.core.model.states import JobState
from jobledger_service.features.statistics.rollup import StatisticsDelta

from .histories import ERRORS, STAGES, JobPlan, shifted_chunk, simulate, write_history

SPAN: Final = 90 * DAY
LIVE: Final = 0.02
"""The newest jobs, as a part of all, of which some still wait or are in work."""
CHUNKS: Final = (1, 2, 3, 5, 5, 5, 8, 11)
"""How many chunks jobs have: five on average."""

_OWNERS: Final = {"default": 70, "acme": 20, "globex": 9, "initech": 1}
_KINDS: Final = {
    "crawl.images": 3_000,
    "transcode.video": 2_000,
    "ocr.pages": 1_500,
    "thumbnails.make": 1_200,
    "embed.text": 1_000,
    "report.export": 600,
    "index.rebuild": 300,
    "audio.transcribe": 200,
    "backup.verify": 150,
    "model.evaluate": 49,
    "legal.hold": 1,
}
_ENDED: Final = {JobState.COMPLETED: 88, JobState.FAILED: 7, JobState.CANCELLED: 5}
_LIVE: Final = {JobState.QUEUED: 35, JobState.RUNNING: 25, JobState.CANCELLING: 1, JobState.COMPLETED: 39}
_PRIORITIES: Final = {5: 80, 3: 8, 7: 8, 10: 2, 0: 2}
_NOUNS: Final = (
    *("Invoices", "Scans", "Holiday", "Catalogue", "Season", "Lectures", "Archive", "Receipts"),
    *("Übersicht", "Résumés", "Façade", "写真"),
)
_ENDINGS: Final = ("tar", "mp4", "pdf", "zip", "jsonl")
_TEAMS: Final = {"documents": 40, "media": 30, "search": 20, "finance": 8, "legal": 2}
_WAITS: Final = (1, 5, 60, 600)
_TAKES: Final = (4, 40, 300, 1_200, 7_200)


@dataclass(frozen=True, slots=True)
class JobPopulation:
    """`count` jobs, created over 90 days before `end` (microseconds since 1970), the same for the same seed number."""

    count: int
    end: int
    seed: int = 1
    chunks: Sequence[int] = CHUNKS

    def writes(self, limit: int) -> Iterator[tuple[Writes, StatisticsDelta]]:
        """Yield all rows and what they add to statistics, those of `limit` jobs at a time, oldest first."""
        rng = random.Random(self.seed)  # noqa: S311  no secret, and the same each time
        for begin in range(0, self.count, limit):
            writes, statistics = Writes(), StatisticsDelta()
            for number in range(begin, min(begin + limit, self.count)):
                self._add(writes, statistics, number, rng)
            yield writes, statistics

    def _add(self, writes: Writes, statistics: StatisticsDelta, number: int, rng: random.Random) -> None:
        age = (self.count - number) / self.count
        plot = _plot(rng, _LIVE if age < LIVE else _ENDED, self.chunks)
        # The last day is left for what still happens to the newest.
        story, new = simulate(plot), self._new(number, Micros(self.end - DAY - round(age * (SPAN - DAY))), rng)
        job = write_history(story, new, statistics)
        add_job(writes, job)
        writes.new_chunks.append((job, [shifted_chunk(chunk, job) for chunk in story.chunks.values()], {}))

    def _new(self, number: int, create_time: Micros, rng: random.Random) -> Job:
        """Return a job as it is created."""
        job_id = str(UUID(int=(create_time // 1_000 << 80) | 7 << 76 | rng.getrandbits(76) & ~(3 << 62) | 2 << 62))
        spec = JobSpec(
            _drawn(_OWNERS, rng),
            job_id,
            _drawn(_KINDS, rng),
            sha256(job_id.encode()).digest(),
            stages=STAGES,
            uid_bytes=uid_of(job_id),
        )
        name = f"{rng.choice(_NOUNS)} {number % 97:02d} part_{number:07d}.{rng.choice(_ENDINGS)}"
        labels = {"team": _drawn(_TEAMS, rng), "customer": f"c{int(5_000 * rng.random() ** 3)}"}
        if rng.random() < 0.5:  # noqa: PLR2004  every other
            labels["env"] = "production"
        new = NewJob(spec, [], display_name=name, priority=_drawn(_PRIORITIES, rng), labels=labels)
        return create(new, "caller", create_time).job


def add_job(writes: Writes, job: Job) -> None:
    """Add a job as the service writes it, with its segments and words; without chunks."""
    writes.new_jobs.append((job, Inputs(), segments(job)))
    writes.new_words.append((job.key, FilterFields.of(job).full_text))


def _plot(rng: random.Random, states: Mapping[JobState, int], chunks: Sequence[int]) -> JobPlan:
    state = _drawn(states, rng)
    takes = rng.choice(_TAKES)
    error = rng.randrange(len(ERRORS)) if state in (JobState.FAILED, JobState.CANCELLED) else 0
    return JobPlan(state, rng.choice(chunks), rng.choice(_WAITS), takes, error)


def _drawn(weights: Mapping[Any, int], rng: random.Random) -> Any:  # noqa: ANN401  a key
    return rng.choices(list(weights), list(weights.values()))[0]
